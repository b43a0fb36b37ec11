//! The second step: from what was read to a tree in which nothing can fail any more.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use treewarden_core::session::Delivery;
use treewarden_otp_core::supervisor::{AutoShutdown, Flags, GiveUp, Restart, Shutdown, Strategy};
use treewarden_proto::{SessionName, SessionSpec};
use treewarden_store::Durability;

use super::backoff;
use super::custom::{ChildTable, ChildTypes};
use super::error::Faults;
use super::keys;
use super::read::{Fields, RawChild, RawKind, RawTree};
use super::spec::{ChildDecl, ChildKind, SessionDecl, SupervisorDecl, TreeSpec};
use crate::session::CutOffTools;

/// Resolves a tree.
pub(super) struct Resolver<'r, 't> {
    pub(super) faults: &'r mut Faults<'t>,
    pub(super) types: &'r ChildTypes,
    pub(super) defaults: Fields,
    pub(super) sessions: HashMap<String, Range<usize>>,
}

impl Resolver<'_, '_> {
    pub(super) fn tree(&mut self, raw: RawTree) -> TreeSpec {
        let RawTree { fields, children, .. } = raw;
        let durability = match fields.text("durability") {
            Some("nothing") => Durability::Nothing,
            Some("power") => Durability::Power,
            _ => Durability::Process,
        };
        TreeSpec {
            state_dir: fields.text("state_dir").map(Into::into),
            durability,
            max_live: fields.count("max_live").map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            root: self.supervisor(&fields, children),
        }
    }

    fn supervisor(&mut self, fields: &Fields, raw: Vec<RawChild>) -> SupervisorDecl {
        let flags = flags(fields);
        let mut siblings: HashMap<String, Range<usize>> = HashMap::new();
        let mut children = Vec::new();
        for child in raw {
            let Some(name) = self.name(&child) else {
                // Still look at the rest of it: a file is to be mended in one go.
                self.kind(child.what, &child.fields, None);
                continue;
            };
            let span = child.fields.span("name").clone();
            let first = siblings.get(name.as_str());
            if let Some(first) = first.filter(|_| !matches!(child.what, RawKind::Session)) {
                self.faults
                    .add(&span, format!("the name \"{name}\" is taken"))
                    .related(first, "it is used here first")
                    .help("the children of one supervisor need different names");
            }
            siblings.entry(name.to_string()).or_insert(span);
            children.extend(self.child(name, child, flags.auto_shutdown, fields));
        }
        SupervisorDecl { flags, children }
    }

    fn name(&mut self, child: &RawChild) -> Option<SessionName> {
        let name = child.fields.text("name").and_then(|name| SessionName::new(name).ok());
        if name.is_none() && !child.fields.refused.contains(&"name") {
            let help = "add a line such as name = \"assistant\"";
            self.faults.add(&child.fields.header, "this child has no name").help(help);
        }
        name
    }

    fn child(
        &mut self,
        name: SessionName,
        child: RawChild,
        auto_shutdown: AutoShutdown,
        parent: &Fields,
    ) -> Option<ChildDecl> {
        let RawChild { fields, what } = child;
        let is_session = matches!(what, RawKind::Session);
        let own = if is_session { self.merged(&fields) } else { fields.clone() };
        if is_session {
            self.unique(&name, fields.span("name"));
        }
        let restart = match own.text("restart") {
            Some("transient") => Restart::Transient,
            Some("temporary") => Restart::Temporary,
            _ => Restart::Permanent,
        };
        let significant = own.known.get("significant").is_some_and(|field| field.value == Json::Bool(true));
        if significant {
            self.significance(&own, restart, auto_shutdown, parent);
        }
        let kind = self.kind(what, &own, Some(&name))?;
        Some(ChildDecl {
            name,
            restart,
            shutdown: own.text("shutdown").and_then(shutdown),
            significant,
            backoff: own.known.get("backoff").and_then(|field| backoff::resolve(&field.value)),
            kind,
        })
    }

    /// What OTP refuses: a significant child that is always restarted, or whose end nobody acts on.
    fn significance(&mut self, own: &Fields, restart: Restart, auto_shutdown: AutoShutdown, parent: &Fields) {
        let span = own.span("significant");
        if restart == Restart::Permanent {
            let message = "`significant` and `restart = \"permanent\"` exclude each other: a permanent child \
                           is always restarted";
            let note = self.faults.add(span, message).help("set `restart` to \"transient\" or \"temporary\"");
            if own.known.contains_key("restart") {
                note.related(own.span("restart"), "`restart` is set here");
            }
        }
        if auto_shutdown == AutoShutdown::Never {
            let message = "`significant` and `auto_shutdown = \"never\"` exclude each other: the supervisor \
                           would not act on the child's end";
            let help = "set the supervisor's `auto_shutdown` to \"any_significant\" or \"all_significant\"";
            let note = self.faults.add(span, message).help(help);
            if parent.known.contains_key("auto_shutdown") {
                note.related(parent.span("auto_shutdown"), "`auto_shutdown` is set here");
            }
        }
    }

    fn unique(&mut self, name: &SessionName, span: &Range<usize>) {
        match self.sessions.get(name.as_str()) {
            Some(first) => {
                self.faults
                    .add(span, format!("the session name \"{name}\" is taken"))
                    .related(first, "it is used here first")
                    .help(
                        "a session's name is unique in the whole file: choose another, such as tenant-7/name",
                    );
            }
            None => {
                self.sessions.insert(name.to_string(), span.clone());
            }
        }
    }

    /// A session's fields with the defaults filled in.
    fn merged(&self, own: &Fields) -> Fields {
        let mut merged = own.clone();
        for (name, default) in &self.defaults.known {
            if own.refused.contains(name) {
                continue;
            }
            match merged.known.get_mut(name) {
                None => {
                    merged.known.insert(name, default.clone());
                }
                Some(field) if keys::find(name).is_some_and(keys::Key::is_merged) => {
                    if let (Json::Object(own), Json::Object(default)) = (&mut field.value, &default.value) {
                        for (key, value) in default {
                            own.entry(key.clone()).or_insert_with(|| value.clone());
                        }
                    }
                }
                Some(_) => {}
            }
        }
        merged
    }

    fn kind(&mut self, what: RawKind, fields: &Fields, name: Option<&SessionName>) -> Option<ChildKind> {
        match what {
            RawKind::Session => self.session(fields).map(|session| ChildKind::Session(Box::new(session))),
            RawKind::Supervisor(children) => Some(ChildKind::Supervisor(self.supervisor(fields, children))),
            RawKind::Custom { type_name, options, spans } => {
                let table = ChildTable { name: name?.to_string(), options };
                match self.types.make(&type_name, &table)? {
                    Ok(start) => Some(ChildKind::Custom { type_name, options: table.options, start }),
                    Err(message) => {
                        let span = quoted(&message).find_map(|key| spans.get(key));
                        let message = format!("the type \"{type_name}\" refuses this child: {message}");
                        self.faults.add(span.unwrap_or(&fields.header), message);
                        None
                    }
                }
            }
        }
    }

    fn session(&mut self, fields: &Fields) -> Option<SessionDecl> {
        let spec = self.spec(fields)?;
        let duration = |key: &str| fields.text(key).and_then(|text| humantime::parse_duration(text).ok());
        Some(SessionDecl {
            spec,
            idle_timeout: duration("idle_timeout"),
            own_work_wait: duration("own_work_wait"),
            background_wait: duration("background_wait"),
            pinned: fields.known.get("pinned").is_some_and(|field| field.value == Json::Bool(true)),
            silence_timeout: duration("silence_timeout"),
            start_timeout: duration("start_timeout"),
            drain_timeout: duration("drain_timeout"),
            delivery: fields.text("delivery").map(|delivery| match delivery {
                "at_most_once" => Delivery::AtMostOnce,
                _ => Delivery::ExactlyOnce,
            }),
            cut_off_tools: fields.text("cut_off_tools").map(|tools| match tools {
                "run_again" => CutOffTools::RunAgain,
                _ => CutOffTools::Tell,
            }),
            warm: fields.count("warm").map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
        })
    }

    fn spec(&mut self, fields: &Fields) -> Option<SessionSpec> {
        let is_option = |name: &str| keys::find(name).is_some_and(keys::is_session_option);
        let options = fields.known.iter().filter(|(name, _)| is_option(name));
        let options: Map<String, Json> =
            options.map(|(name, field)| ((*name).to_owned(), field.value.clone())).collect();
        let Ok(spec) = serde_json::from_value::<SessionSpec>(Json::Object(options.clone())) else {
            self.refused_options(fields, options);
            return None;
        };
        match spec.validate() {
            Ok(()) => Some(spec),
            Err(error) => {
                for text in error.faults() {
                    self.conflict(fields, text);
                }
                None
            }
        }
    }

    /// Finds the options that `SessionSpec` itself refuses, one by one.
    fn refused_options(&mut self, fields: &Fields, options: Map<String, Json>) {
        for (name, value) in options {
            let alone: Map<String, Json> = [(name.clone(), value)].into_iter().collect();
            if let Err(error) = serde_json::from_value::<SessionSpec>(Json::Object(alone)) {
                self.faults.add(fields.span(&name), format!("`{name}`: {error}"));
            }
        }
    }

    /// Notes a fault in which the options are named between back-ticks, at the place of the first that is set.
    fn conflict(&mut self, fields: &Fields, text: &str) {
        let mut spans = quoted(text).filter_map(|name| fields.known.get_key_value(name));
        let Some((first, field)) = spans.next() else {
            self.faults.add(&fields.header, text);
            return;
        };
        let span = field.span.clone();
        let other = spans.find(|(name, _)| *name != first);
        let note = self.faults.add(&span, text);
        if let Some((name, other)) = other {
            note.related(&other.span, format!("`{name}` is set here"));
        }
    }
}

/// The words of a text that stand between back-ticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn shutdown(text: &str) -> Option<Shutdown> {
    match text {
        "brutal_kill" => Some(Shutdown::BrutalKill),
        "infinity" => Some(Shutdown::Infinity),
        text => humantime::parse_duration(text).ok().map(|limit: Duration| Shutdown::Timeout(limit)),
    }
}

fn flags(fields: &Fields) -> Flags {
    let default = Flags::default();
    Flags {
        strategy: match fields.text("strategy") {
            Some("one_for_all") => Strategy::OneForAll,
            Some("rest_for_one") => Strategy::RestForOne,
            _ => Strategy::OneForOne,
        },
        max_restarts: fields.count("max_restarts").unwrap_or(default.max_restarts),
        max_seconds: fields.count("max_seconds").unwrap_or(default.max_seconds),
        auto_shutdown: match fields.text("auto_shutdown") {
            Some("any_significant") => AutoShutdown::AnySignificant,
            Some("all_significant") => AutoShutdown::AllSignificant,
            _ => AutoShutdown::Never,
        },
        give_up: match fields.text("give_up") {
            Some("park") => GiveUp::Park,
            _ => GiveUp::Escalate,
        },
    }
}
