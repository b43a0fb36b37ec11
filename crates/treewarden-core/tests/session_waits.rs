//! What can be asked of a session whose turn waits, and nothing of which runs: each is done at once.

mod session_support;

use session_support::*;
use treewarden_core::session::{
    Action, Config, End, Event, Fact, Item, ResultFact, Settlement, StartFailure, State, StopReason,
};

/// What turn 1 of a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For a usage limit, in the CLI: it met it.
    LimitInCli,
    /// For one that another session met, beside an idle CLI.
    LimitBesideCli,
    /// For one, and no CLI is started.
    LimitWithoutCli,
    /// For a place among the live CLIs.
    Place,
    /// For the next of two starts.
    BetweenStarts,
    /// For a CLI that does not come up.
    Start,
}

const ALL: [Waits; 6] = [
    Waits::LimitInCli,
    Waits::LimitBesideCli,
    Waits::LimitWithoutCli,
    Waits::Place,
    Waits::BetweenStarts,
    Waits::Start,
];

impl Waits {
    fn bench(self) -> Bench {
        let limit = secs(3600);
        let mut bench = match self {
            Self::LimitInCli | Self::LimitBesideCli => Bench::ready(),
            _ => Bench::new(Config::default(), vec![]),
        };
        let turn_1 = patient(1, bench.now + secs(7200));
        bench.feed(Event::Enqueue(Item::Turn(turn_1)));
        match self {
            Self::LimitInCli => {
                let met = ResultFact { turns: vec![turn(1)], limited_for: Some(limit), ..Default::default() };
                bench.feed(frame(Fact::Result(met)));
            }
            Self::LimitBesideCli => bench.feed(Event::Limited(turn(1), limit)),
            Self::LimitWithoutCli => bench.feed(Event::StartFailed(StartFailure::Limited(limit))),
            Self::Place => bench.feed(Event::AwaitsPlace(true)),
            Self::BetweenStarts => bench.feed(ends_early()),
            Self::Start => bench.feed(Event::Spawned),
        }
        bench.take();
        bench
    }

    /// What a turn comes to that is interrupted meanwhile.
    fn interrupted(self) -> Action {
        settle(1, if self == Self::LimitInCli { Settlement::Interrupted } else { Settlement::Cancelled })
    }

    /// How the CLI is ended, if there is one, or the start.
    fn ends(self) -> Option<Action> {
        match self {
            Self::LimitInCli | Self::LimitBesideCli => Some(Action::Stop),
            Self::LimitWithoutCli | Self::Place | Self::Start => Some(Action::Kill),
            Self::BetweenStarts => None,
        }
    }
}

/// What is done at once, and when the CLI is gone that it ended.
fn done(bench: &mut Bench, event: Event) -> Vec<Action> {
    let mut actions = bench.on(event);
    if bench.state() == State::Stopping {
        actions.extend(bench.on(exited()));
    }
    actions
}

#[test]
fn an_interrupt_ends_the_turn() {
    for waits in ALL {
        let mut bench = waits.bench();
        assert_eq!(bench.on(cancel(1)).first(), Some(&waits.interrupted()), "{waits:?}");
    }
}

#[test]
fn a_clear_behind_the_turn_keeps_its_place_and_is_done_as_soon_as_it_is_foremost() {
    for waits in ALL {
        let mut bench = waits.bench();
        assert_eq!(bench.on(Event::Enqueue(Item::Clear)), [], "{waits:?}");
        let actions = done(&mut bench, cancel(1));
        let cli = waits.ends().filter(|_| waits != Waits::LimitWithoutCli);
        let cleared = [Action::NewConversation, Action::End(End::Parked)];
        let wanted: Vec<_> = [waits.interrupted()].into_iter().chain(cli).chain(cleared).collect();
        assert_eq!(actions, wanted, "{waits:?}");
    }
}

#[test]
fn a_clear_of_a_session_none_of_whose_turns_is_left_is_done_at_once() {
    for waits in ALL {
        let mut bench = waits.bench();
        bench.feed(cancel(1));
        if matches!(waits, Waits::LimitWithoutCli | Waits::Place | Waits::BetweenStarts) {
            // Nothing is left to wait for, and so a clear finds a session without a CLI.
            if bench.state() == State::Stopping {
                bench.feed(exited());
            }
            assert_eq!(bench.state(), State::Ended, "{waits:?}");
            continue;
        }
        let actions = done(&mut bench, Event::Enqueue(Item::Clear));
        let cleared = [Action::NewConversation, Action::End(End::Parked)];
        let wanted: Vec<_> = waits.ends().into_iter().chain(cleared).collect();
        assert_eq!(actions, wanted, "{waits:?}");
    }
}

#[test]
fn what_is_behind_a_clear_waits_on_in_the_new_conversation() {
    for waits in [Waits::LimitWithoutCli, Waits::BetweenStarts] {
        let mut bench = waits.bench();
        bench.feed(Event::Enqueue(Item::Clear));
        bench.feed(Event::Enqueue(Item::Turn(patient(2, bench.now + secs(7200)))));
        let state = bench.state();
        assert_eq!(bench.on(cancel(1)), [waits.interrupted(), Action::NewConversation], "{waits:?}");
        assert_eq!(bench.state(), state, "{waits:?}");
        assert_eq!(bench.pass(secs(3600)).first(), Some(&start(false)), "{waits:?}");
    }
}

#[test]
fn a_stop_and_a_removal_end_the_turn_and_the_session() {
    for waits in ALL {
        let mut bench = waits.bench();
        let actions = done(&mut bench, Event::Stop(StopReason::Requested));
        let ended = waits.ends().into_iter().chain([stopped(StopReason::Requested)]);
        let wanted: Vec<_> = [waits.interrupted()].into_iter().chain(ended).collect();
        assert_eq!(actions, wanted, "{waits:?}");
    }
}

#[test]
fn a_restart_leaves_the_turn_to_the_next_cli() {
    for waits in ALL {
        let mut bench = waits.bench();
        let actions = done(&mut bench, Event::Stop(StopReason::Shutdown));
        let cli = waits.ends().map(|ends| if waits == Waits::LimitInCli { Action::Terminate } else { ends });
        let wanted: Vec<_> = cli.into_iter().chain([stopped(StopReason::Shutdown)]).collect();
        assert_eq!(actions, wanted, "{waits:?}");
    }
}

#[test]
fn other_options_are_tried_at_once_but_for_the_turn_that_a_cli_has() {
    for waits in ALL {
        let mut bench = waits.bench();
        let mut actions = bench.on(Event::Configure { config: Config::default(), renew: true });
        actions.extend(bench.pass(millis(0)));
        let wanted = match waits {
            // Its turn is in that CLI's hands, and is gone on with by the next one after a restart alone.
            Waits::LimitInCli => vec![],
            // The disk is looked at first: the CLI may have the only copy.
            Waits::LimitBesideCli => vec![Action::LookOnDisk],
            // The next account may have no limit, and the next path a program.
            Waits::LimitWithoutCli | Waits::BetweenStarts => vec![start(false)],
            // It is replaced before it gets a turn.
            Waits::Place | Waits::Start => vec![],
        };
        assert_eq!(actions, wanted, "{waits:?}");
    }
}
