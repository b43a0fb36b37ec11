//! The second step: from what was read to a tree in which nothing can fail any more.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::{Error, Value as Json};
use treewarden_otp_core::Backoff;
use treewarden_otp_core::supervisor::{AutoShutdown, Flags, GiveUp, Restart, Strategy};
use treewarden_proto::SessionName;
use treewarden_proto::spec::SpecError;

use super::against::Declared;
use super::custom::{ChildTable, ChildTypes};
use super::error::Faults;
use super::forms::{FlagsForm, SupervisionForm, TreeForm};
use super::key::{Key, Whose};
use super::keys;
use super::read::{Fields, RawChild, RawKind, RawTree};
use super::spec::{ChildDecl, ChildKind, SupervisorDecl, TemplateDecl, TemplateLimits, TreeSpec};
use crate::session::SessionOptions;
use crate::supervision::Supervision;

/// Resolves a tree.
pub(super) struct Resolver<'r, 't> {
    pub(super) faults: &'r mut Faults<'t>,
    pub(super) types: &'r ChildTypes,
    pub(super) defaults: Fields,
    pub(super) sessions: HashMap<String, Range<usize>>,
    /// Gets each session and template, for who holds them against a machine.
    pub(super) declared: Option<&'r mut Vec<Declared>>,
}

impl Resolver<'_, '_> {
    pub(super) fn tree(&mut self, raw: RawTree) -> TreeSpec {
        let RawTree { fields, children, .. } = raw;
        let spec = self.form(&fields, &[Whose::Tree], TreeForm::deserialize).unwrap_or_default();
        TreeSpec { root: self.supervisor(&fields, children), ..spec }
    }

    fn supervisor(&mut self, fields: &Fields, raw: Vec<RawChild>) -> SupervisorDecl {
        let flags = self.flags(fields);
        let mut siblings: HashMap<String, (Range<usize>, bool)> = HashMap::new();
        let mut children = Vec::new();
        for child in raw {
            let Some(name) = self.name(&child) else {
                // Still look at the rest of it: a file is to be mended in one go.
                self.kind(child.what, &child.fields, None);
                continue;
            };
            let span = child.fields.span("name").clone();
            let is_session = matches!(child.what, RawKind::Session);
            let first = siblings.get(name.as_str());
            // A session that has the name of another session is told by `unique`, which looks at the whole file. Every other
            // pair is told here: a reload of a tree with both would end one child, with all below it, for the other.
            if let Some((first, _)) = first.filter(|(_, first_is_session)| !(is_session && *first_is_session))
            {
                self.faults
                    .add(&span, format!("the name \"{name}\" is taken"))
                    .related(first, "it is used here first")
                    .help("the children of one supervisor need different names");
            }
            siblings.entry(name.to_string()).or_insert((span, is_session));
            children.extend(self.child(name, child, &flags, fields));
        }
        SupervisorDecl { flags, children }
    }

    fn name(&mut self, child: &RawChild) -> Option<SessionName> {
        let name = child.fields.text("name").and_then(|name| SessionName::new(name).ok());
        if name.is_none() && !child.fields.refused.contains(&"name") {
            let help = "add a line such as name = \"assistant\"";
            let what = if matches!(child.what, RawKind::Template) { "template" } else { "child" };
            self.faults.add(&child.fields.header, format!("this {what} has no name")).help(help);
        }
        name
    }

    fn child(
        &mut self,
        name: SessionName,
        child: RawChild,
        above: &Flags,
        parent: &Fields,
    ) -> Option<ChildDecl> {
        let RawChild { fields, what } = child;
        let is_session = matches!(what, RawKind::Session);
        let is_template = matches!(what, RawKind::Template);
        let own = if is_session || is_template { self.merged(&fields) } else { fields.clone() };
        if is_session {
            self.unique(&name, fields.span("name"));
        }
        let mut supervision =
            self.form(&own, &[Whose::Child], SupervisionForm::deserialize).unwrap_or_default();
        if supervision.significant {
            self.significance(&own, supervision.restart, above.auto_shutdown, parent);
        }
        // The sessions of a template are restarted by the template's supervisor, and not by the one above that.
        let own_flags = is_template.then(|| self.flags(&own));
        let flags = own_flags.as_ref().unwrap_or(above);
        if !own.known.contains_key("backoff") && parks_alone(flags) {
            supervision.backoff = Some(Backoff::default());
        }
        let kind = self.kind(what, &own, Some(&name))?;
        if is_template {
            let flags = own_flags.unwrap_or_default();
            let kind = ChildKind::Template(Box::new(self.template(&name, &own, flags, supervision, kind)));
            // What is said of restarts, shutdown and back-off is said of its sessions.
            return Some(ChildDecl { name, supervision: Supervision::default(), kind });
        }
        Some(ChildDecl { name, supervision, kind })
    }

    /// How a supervisor behaves: as OTP's, but that one whose children do not need each other gives up the child alone.
    fn flags(&mut self, fields: &Fields) -> Flags {
        let mut flags = self.form(fields, &[Whose::Supervisor], FlagsForm::deserialize).unwrap_or_default();
        if !fields.known.contains_key("give_up") && flags.strategy == Strategy::OneForOne {
            // One session that cannot start would end those of everybody else, and the daemon with them.
            flags.give_up = GiveUp::Park;
        }
        flags
    }

    /// The supervisor of a template, and what its sessions are made of.
    fn template(
        &mut self,
        name: &SessionName,
        own: &Fields,
        flags: Flags,
        supervision: Supervision,
        kind: ChildKind,
    ) -> TemplateDecl {
        if supervision.restart == Restart::Temporary {
            // It would hold its name and its place when it has ended, and nobody would start it again.
            let message = "a session of a template cannot have `restart = \"temporary\"`: it exists until it is removed";
            let help = "set `restart` to \"permanent\" or \"transient\" in the template";
            self.faults.add(own.span("restart"), message).help(help);
        }
        let limits = self.form(own, &[Whose::Template], TemplateLimits::deserialize).unwrap_or_default();
        TemplateDecl { flags, limits, session: ChildDecl { name: name.clone(), supervision, kind } }
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
                Some(field) if keys::find(name).is_some_and(Key::is_merged) => {
                    if let (Json::Object(own), Json::Object(default)) = (&mut field.value, &default.value) {
                        for (key, value) in default {
                            own.entry(key.clone()).or_insert_with(|| value.clone());
                        }
                    }
                    for (key, span) in &default.parts {
                        field.parts.entry(key.clone()).or_insert_with(|| span.clone());
                    }
                }
                Some(_) => {}
            }
        }
        merged
    }

    fn kind(&mut self, what: RawKind, fields: &Fields, name: Option<&SessionName>) -> Option<ChildKind> {
        match what {
            RawKind::Session | RawKind::Template => {
                self.session(fields, name).map(|session| ChildKind::Session(Box::new(session)))
            }
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

    /// A session's options, which agree with each other.
    fn session(&mut self, fields: &Fields, name: Option<&SessionName>) -> Option<SessionOptions> {
        let owners = [Whose::Session, Whose::Cli];
        let mut options = self.form(fields, &owners, SessionOptions::deserialize)?;
        options.spec.name = name.cloned();
        let limits = options.limits.faults();
        limits.iter().for_each(|text| self.conflict(fields, text));
        let invalid = options.spec.validate().err();
        for (option, text) in invalid.iter().flat_map(SpecError::by_option) {
            match option.and_then(|option| fields.part(option)) {
                Some(span) => {
                    self.faults.add(span, text);
                }
                None => self.conflict(fields, text),
            }
        }
        if !limits.is_empty() || invalid.is_some() {
            return None;
        }
        // One of which something was refused could not be held against a machine as it will be.
        let is_whole = fields.refused.is_empty() && self.defaults.refused.is_empty();
        if let Some(declared) = self.declared.as_mut().filter(|_| is_whole) {
            declared.push(Declared { spec: options.spec.clone(), fields: fields.clone() });
        }
        Some(options)
    }

    /// Reads the values of the keys of these owners into their form.
    fn form<T>(
        &mut self,
        fields: &Fields,
        owners: &[Whose],
        read: impl Fn(Json) -> Result<T, Error>,
    ) -> Option<T> {
        let values = fields.of(owners);
        let error = match read(Json::Object(values.clone())) {
            Ok(form) => return Some(form),
            Err(error) => error,
        };
        // What serde says does not name the key: each is held against the form by itself.
        let mut found = false;
        for (name, value) in values {
            let span = fields.span(&name);
            if let Err(error) = read(Json::Object([(name.clone(), value)].into_iter().collect())) {
                // What serde says may repeat the value.
                let secret = keys::find(&name).is_none_or(|key| key.secret);
                let why = if secret { "cannot be used".to_owned() } else { error.to_string() };
                self.faults.add(span, format!("`{name}`: {why}"));
                found = true;
            }
        }
        if !found {
            // Together they are refused for their names alone, which are no secret.
            self.faults.add(&fields.header, error.to_string());
        }
        None
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

/// Tells whether a supervisor gives up one child alone: then that child's restarts wait, so that its budget is not spent on
/// something that would have passed.
fn parks_alone(flags: &Flags) -> bool {
    flags.strategy == Strategy::OneForOne && flags.give_up == GiveUp::Park
}

/// The words of a text that stand between back-ticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
