//! The promises of the session machine, under any order of events that the model of its world can make.
//!
//! Each action is checked by the world as it comes: one CLI at a time, turns in order, each settled at most once, by
//! its own result or by its own answer on disk, each prompt once in the context, nothing sent after a stop, nor into work
//! of the CLI's own before `own_work_wait` is over; and no CLI is ended for convenience at such work, with background tasks,
//! or while its last answer is not on disk; and nothing is started beside what is left of a CLI that could not be ended.
//! Outcomes are stored late, or not for a time, in any order with exits and stops; no turn is sent while one is neither stored
//! nor in hand.

mod session_world;

use proptest::prelude::*;
use session_world::{Op, World};
use treewarden_core::session::StopReason;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => prop::bool::weighted(0.2).prop_map(|at_most_once| Op::Enqueue { at_most_once }),
        1 => Just(Op::Clear),
        2 => any::<u8>().prop_map(Op::Cancel),
        1 => Just(Op::Interrupt),
        1 => Just(Op::Stop(StopReason::Park)),
        2 => Just(Op::Renew),
        2 => Just(Op::TooLarge),
        30 => prop::bool::weighted(0.03).prop_map(|limited| Op::Step { limited }),
        30 => Just(Op::Read),
        25 => prop::bool::weighted(0.05).prop_map(|fails| Op::Drive { fails }),
        2 => any::<bool>().prop_map(|waits| Op::Crowd { waits }),
        1 => Just(Op::Short),
        8 => (0u8..4).prop_map(Op::Flush),
        4 => Just(Op::Kill),
        1 => Just(Op::Freeze),
        20 => Just(Op::Store),
        3 => Just(Op::Refuse),
        3 => any::<bool>().prop_map(|named| Op::Stray { named }),
        3 => Just(Op::Own),
        1 => (0u8..3).prop_map(Op::Tasks),
        4 => (0u16..2000).prop_map(Op::Wait),
        4 => Just(Op::Deadline),
    ]
}

fn stop() -> impl Strategy<Value = StopReason> {
    prop_oneof![Just(StopReason::Requested), Just(StopReason::Shutdown)]
}

fn run(weak: bool, ops: &[Op], then: Option<StopReason>, more: &[Op]) {
    let mut world = World::new(weak);
    ops.iter().for_each(|op| world.apply(*op));
    if let Some(reason) = then {
        world.apply(Op::Stop(reason));
    }
    more.iter().for_each(|op| world.apply(*op));
    world.settle_down();
    world.assert_all_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_turn_is_settled_once_by_its_own_answer(ops in prop::collection::vec(op(), 0..300)) {
        run(false, &ops, None, &[]);
    }

    #[test]
    fn every_turn_of_a_weak_cli_is_settled_once_by_its_own_answer(ops in prop::collection::vec(op(), 0..300)) {
        run(true, &ops, None, &[]);
    }

    #[test]
    fn nothing_is_started_beside_what_is_left_of_a_cli(
        weak: bool,
        ops in prop::collection::vec(op(), 0..150),
        reason in prop::option::of(stop()),
        more in prop::collection::vec(op(), 0..150),
    ) {
        let mut world = World::new(weak);
        ops.iter().for_each(|op| world.apply(*op));
        world.apply(Op::Survive);
        if let Some(reason) = reason {
            world.apply(Op::Stop(reason));
        }
        more.iter().for_each(|op| world.apply(*op));
        world.settle_down();
        world.assert_all_settled();
    }

    #[test]
    fn a_stop_at_any_moment_is_obeyed_and_sends_nothing(
        weak: bool,
        ops in prop::collection::vec(op(), 0..150),
        reason in stop(),
        more in prop::collection::vec(op(), 0..60),
    ) {
        run(weak, &ops, Some(reason), &more);
    }
}
