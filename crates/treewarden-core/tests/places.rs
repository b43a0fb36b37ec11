//! The places among the live CLIs: scenarios, and random schedules against a model that knows only the orders.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use treewarden_core::places::{Order, Places, Ticket};

fn orders(places: &mut Places) -> Vec<Order> {
    std::iter::from_fn(|| places.poll_order()).collect()
}

#[test]
fn whoever_finds_no_place_waits_and_one_that_is_left_goes_to_the_first() {
    let mut places = Places::new(1);
    let [a, b, c] = [(); 3].map(|()| places.ask(false));
    assert_eq!(orders(&mut places), [Order::Grant(a)]);
    places.leave(a);
    assert_eq!(orders(&mut places), [Order::Grant(b)], "one place wakes one");
    places.leave(b);
    assert_eq!(orders(&mut places), [Order::Grant(c)]);
}

#[test]
fn only_as_many_are_asked_to_go_as_are_needed_the_one_idle_longest_first() {
    let mut places = Places::new(3);
    let [a, b, c] = [(); 3].map(|()| places.ask(false));
    for ticket in [b, a, c] {
        places.idle(ticket);
    }
    orders(&mut places);
    let d = places.ask(false);
    assert_eq!(orders(&mut places), [Order::Park(b)]);
    places.leave(b);
    assert_eq!(orders(&mut places), [Order::Grant(d)]);
    places.idle(a);
    assert_eq!(orders(&mut places), [], "to be idle still is no use of it");
    places.ask(false);
    assert_eq!(orders(&mut places), [Order::Park(a)]);
}

#[test]
fn a_holder_that_got_work_before_it_went_stays_and_another_is_asked() {
    let mut places = Places::new(2);
    let [a, b] = [(); 2].map(|()| places.ask(false));
    places.idle(a);
    places.idle(b);
    places.ask(false);
    orders(&mut places);
    places.busy(a);
    assert_eq!(orders(&mut places), [Order::Park(b)]);
    places.busy(b);
    assert_eq!(orders(&mut places), [], "nobody is idle");
    places.idle(b);
    assert_eq!(orders(&mut places), [Order::Park(b)], "who becomes idle while others wait is asked at once");
}

#[test]
fn a_holder_that_goes_by_itself_saves_another_from_being_asked() {
    let mut places = Places::new(2);
    let [a, b] = [(); 2].map(|()| places.ask(false));
    places.idle(b);
    orders(&mut places);
    places.leaving(a);
    let c = places.ask(false);
    assert_eq!(orders(&mut places), []);
    places.leave(a);
    assert_eq!(orders(&mut places), [Order::Grant(c)]);
}

#[test]
fn whoever_waits_is_refused_when_pinned_holders_have_every_place() {
    let mut places = Places::new(2);
    let [a, b] = [false, true].map(|pinned| places.ask(pinned));
    let [c, d] = [true, false].map(|pinned| places.ask(pinned));
    assert_eq!(orders(&mut places), [Order::Grant(a), Order::Grant(b)]);
    places.leave(a);
    assert_eq!(orders(&mut places), [Order::Grant(c), Order::Refuse(d)]);
    let e = places.ask(true);
    assert_eq!(orders(&mut places), [Order::Refuse(e)]);
    places.leave(b);
    let f = places.ask(false);
    assert_eq!(orders(&mut places), [Order::Grant(f)]);
}

#[test]
fn a_spare_takes_no_place_that_is_waited_for_and_goes_before_any_session() {
    let mut places = Places::new(2);
    let session = places.ask(false);
    places.idle(session);
    let spare = places.spare().expect("a place is free");
    assert_eq!(places.spare(), None, "there is none left");
    assert_eq!(orders(&mut places), [Order::Grant(session)]);
    let other = places.ask(false);
    assert_eq!(orders(&mut places), [Order::Park(spare)], "although the session has been idle longer");
    places.leave(spare);
    assert_eq!(orders(&mut places), [Order::Grant(other)]);
}

#[test]
fn a_spare_that_a_session_takes_over_stays_and_another_is_asked() {
    let mut places = Places::new(2);
    let session = places.ask(false);
    places.idle(session);
    let spare = places.spare().expect("a place is free");
    let other = places.ask(false);
    places.adopt(spare, true);
    assert_eq!(orders(&mut places), [Order::Grant(session), Order::Park(spare), Order::Park(session)]);
    places.idle(spare);
    places.leave(session);
    assert_eq!(orders(&mut places), [Order::Grant(other)], "a pinned session is asked for nothing");
}

#[test]
fn where_the_machine_lacks_something_one_idle_holder_at_a_time_is_asked_to_go() {
    let mut places = Places::new(8);
    let [a, b, c] = [(); 3].map(|()| places.ask(false));
    places.make_room();
    assert_eq!(orders(&mut places), [a, b, c].map(Order::Grant), "all are busy");
    places.idle(b);
    places.idle(a);
    places.make_room();
    places.make_room();
    assert_eq!(orders(&mut places), [Order::Park(b)], "the second time one goes already");
    places.leave(b);
    places.make_room();
    assert_eq!(orders(&mut places), [Order::Park(a)]);
}

#[test]
fn a_request_that_is_given_up_takes_nothing_with_it() {
    let mut places = Places::new(1);
    let [a, b, c] = [(); 3].map(|()| places.ask(false));
    places.leave(b);
    places.leave(b);
    places.leave(a);
    assert_eq!(orders(&mut places), [Order::Grant(a), Order::Grant(c)]);
}

/// What the world knows of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TicketState {
    Waits,
    Busy,
    Idle,
    Asked,
}

#[derive(Debug, Clone)]
enum Step {
    Ask(bool),
    Idle(usize),
    Busy(usize),
    Leave(usize),
    MakeRoom,
}

#[derive(Default)]
struct World {
    /// Pinned or not, and what it does; in the order of asking.
    tickets: BTreeMap<Ticket, (bool, TicketState)>,
    queue: VecDeque<Ticket>,
    refused: Vec<Ticket>,
}

impl World {
    fn count(&self, what: impl Fn(&(bool, TicketState)) -> bool) -> usize {
        self.tickets.values().filter(|ticket| what(ticket)).count()
    }

    fn obey(&mut self, places: &mut Places) -> Result<(), TestCaseError> {
        while let Some(order) = places.poll_order() {
            match order {
                Order::Grant(ticket) => {
                    prop_assert_eq!(self.queue.pop_front(), Some(ticket), "first come, first served");
                    self.tickets.get_mut(&ticket).expect("known").1 = TicketState::Busy;
                }
                Order::Park(ticket) => {
                    let (pinned, state) = self.tickets.get_mut(&ticket).expect("known");
                    prop_assert!(!*pinned && *state == TicketState::Idle, "only who is idle and not pinned");
                    *state = TicketState::Asked;
                }
                Order::Refuse(ticket) => {
                    self.queue.retain(|queued| *queued != ticket);
                    self.tickets.remove(&ticket);
                    self.refused.push(ticket);
                }
            }
        }
        let holders = self.count(|(_, state)| *state != TicketState::Waits);
        let (waiting, asked) = (self.queue.len(), self.count(|(_, state)| *state == TicketState::Asked));
        let idle = self.count(|(pinned, state)| !pinned && *state == TicketState::Idle);
        prop_assert!(holders <= places.limit());
        prop_assert!(waiting == 0 || holders == places.limit(), "no place is free while somebody waits");
        prop_assert!(waiting <= asked || idle == 0, "nobody idles while somebody waits in vain");
        let pinned = self.count(|(pinned, state)| *pinned && *state != TicketState::Waits);
        prop_assert!(waiting == 0 || pinned < places.limit(), "nobody waits for what cannot come");
        prop_assert!(self.refused.is_empty() || pinned == places.limit());
        self.refused.clear();
        Ok(())
    }

    fn nth(&self, n: usize, what: impl Fn(TicketState) -> bool) -> Option<Ticket> {
        let fit: Vec<Ticket> =
            self.tickets.iter().filter(|(_, (_, is))| what(*is)).map(|(ticket, _)| *ticket).collect();
        (!fit.is_empty()).then(|| fit[n % fit.len()])
    }

    fn step(&mut self, places: &mut Places, step: &Step) {
        let holds = |state| state != TicketState::Waits;
        match *step {
            Step::Ask(pinned) => {
                let ticket = places.ask(pinned);
                self.tickets.insert(ticket, (pinned, TicketState::Waits));
                self.queue.push_back(ticket);
            }
            Step::Idle(n) => {
                if let Some(ticket) = self.nth(n, |state| state == TicketState::Busy) {
                    places.idle(ticket);
                    self.tickets.get_mut(&ticket).expect("known").1 = TicketState::Idle;
                }
            }
            Step::Busy(n) => {
                if let Some(ticket) = self.nth(n, holds) {
                    places.busy(ticket);
                    self.tickets.get_mut(&ticket).expect("known").1 = TicketState::Busy;
                }
            }
            Step::MakeRoom => places.make_room(),
            Step::Leave(n) => {
                if let Some(ticket) = self.nth(n, |_| true) {
                    places.leave(ticket);
                    self.tickets.remove(&ticket);
                    self.queue.retain(|queued| *queued != ticket);
                }
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::bool::weighted(0.2).prop_map(Step::Ask),
        4 => (0..64_usize).prop_map(Step::Idle),
        2 => (0..64_usize).prop_map(Step::Busy),
        3 => (0..64_usize).prop_map(Step::Leave),
        1 => Just(Step::MakeRoom),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn places_are_given_in_order_and_only_idle_holders_are_asked_for_theirs(limit in 1..6_usize, steps in steps()) {
        let mut places = Places::new(limit);
        let mut world = World::default();
        for step in &steps {
            world.step(&mut places, step);
            world.obey(&mut places)?;
        }
        // When all who work come to an end, and all who are asked go, nobody waits any more.
        for _ in 0..=steps.len() {
            let working: Vec<Ticket> =
                world.tickets.iter().filter(|(_, is)| is.1 == TicketState::Busy).map(|(ticket, _)| *ticket).collect();
            for ticket in working {
                places.idle(ticket);
                world.tickets.get_mut(&ticket).expect("known").1 = TicketState::Idle;
            }
            world.obey(&mut places)?;
            while let Some(ticket) = world.nth(0, |state| state == TicketState::Asked) {
                places.leave(ticket);
                world.tickets.remove(&ticket);
                world.obey(&mut places)?;
            }
        }
        prop_assert!(world.queue.is_empty(), "{:?} wait", world.queue);
    }
}
