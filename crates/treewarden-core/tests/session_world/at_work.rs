//! What the driver can know of the CLI's own work, and what must not happen during it.

use std::time::Instant;

use treewarden_core::session::Config;
use treewarden_proto::TurnId;

use super::cli::{Event, Fact};

#[derive(Debug, Default)]
pub(crate) struct AtWork {
    reports: bool,
    running: bool,
    /// Since when the CLI works by itself, and its last sign of it.
    own: Option<(Instant, Instant)>,
    /// When its background tasks last changed, while there are any.
    tasks: Option<Instant>,
    /// The turn that is the next, since when.
    next: Option<(TurnId, Instant)>,
}

impl AtWork {
    /// Notes what the machine is about to be told.
    pub(crate) fn note(&mut self, now: Instant, next: Option<TurnId>, in_flight: bool, event: &Event) {
        let since = self.next.filter(|(turn, _)| Some(*turn) == next).map_or(now, |(_, since)| since);
        self.next = next.map(|turn| (turn, since));
        // Work that gave no sign for so long counts as over.
        self.own = self.own.filter(|(_, sign)| now < *sign + Config::default().background_wait);
        let Event::Frame(fact) = event else { return };
        if let Fact::BackgroundTasks(count) = fact {
            self.tasks = (*count > 0).then_some(now);
            return;
        }
        let begins = match fact {
            Fact::Running => {
                (self.reports, self.running) = (true, true);
                true
            }
            Fact::TurnBegan => self.running || !self.reports,
            _ => false,
        };
        match fact {
            Fact::Idle => (self.reports, self.running, self.own) = (true, false, None),
            Fact::Result(_) if !self.reports => self.own = None,
            _ if in_flight => {}
            _ => match &mut self.own {
                Some((_, sign)) => *sign = now,
                None if begins => self.own = Some((now, now)),
                None => {}
            },
        }
    }

    /// A turn is sent that was written to so many CLIs before.
    pub(crate) fn check_sent(&mut self, now: Instant, turn: TurnId, attempts: u32) {
        if let Some((since, sign)) = self.own.take()
            && attempts == 0
        {
            let config = Config::default();
            let next = self.next.filter(|(next, _)| *next == turn).map_or(now, |(_, since)| since);
            let waited = since.max(next) + config.own_work_wait <= now;
            assert!(waited || sign + config.background_wait <= now, "{turn} is sent into own work: {self:?}");
        }
    }

    /// The CLI is ended though nobody asked for that.
    pub(crate) fn check_ended(&self, now: Instant) {
        let wait = Config::default().background_wait;
        let over = |sign: Instant| sign + wait <= now;
        assert!(self.own.is_none_or(|(_, sign)| over(sign)), "ended at work: {self:?}");
        assert!(self.tasks.is_none_or(over), "ended with background tasks: {self:?}");
    }
}
