//! What a row of the table of keys says: the columns.

use super::effect::Effect;

/// A kind of table in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The file itself: the root supervisor, and what concerns the whole tree.
    Root,
    /// `[defaults]`.
    Defaults,
    /// A child that is a session.
    Session,
    /// A child that is a supervisor.
    Supervisor,
    /// A child of a type that the embedding program registered.
    Custom,
    /// What sessions are made of while the tree runs.
    Template,
}

impl Scope {
    pub(super) const ALL: [Self; 6] =
        [Self::Root, Self::Defaults, Self::Session, Self::Supervisor, Self::Custom, Self::Template];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The place in words, for a message.
    pub(super) const fn place(self) -> &'static str {
        match self {
            Self::Root => "at the top level",
            Self::Defaults => "in [defaults]",
            Self::Session => "in a session",
            Self::Supervisor => "in a supervisor",
            Self::Custom => "in a child of a registered type",
            Self::Template => "in a template",
        }
    }
}

pub(super) const ROOT: u8 = Scope::Root.bit();
pub(super) const SESSION: u8 = Scope::Session.bit();
pub(super) const TEMPLATE: u8 = Scope::Template.bit();
/// An option of a session that may stand in `[defaults]` and in a template.
pub(super) const SHARED: u8 = SESSION | TEMPLATE | Scope::Defaults.bit();
/// What every child has.
pub(super) const CHILD: u8 = SESSION | Scope::Supervisor.bit() | Scope::Custom.bit();
/// What every supervisor has, the root too.
pub(super) const TREE: u8 = ROOT | Scope::Supervisor.bit();

/// Whose a key is: the form that has a field for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Nobody's: it is what makes the file a tree.
    File,
    /// A [`TreeSpec`](super::TreeSpec)'s.
    Tree,
    /// A supervisor's [`Flags`](treewarden_otp_core::supervisor::Flags).
    Supervisor,
    /// A template's [`TemplateLimits`](super::TemplateLimits).
    Template,
    /// A child's [`Supervision`](super::Supervision).
    Child,
    /// Ours, of a session: [`SessionOptions`](crate::session::SessionOptions).
    Session,
    /// The CLI's: [`SessionSpec`](treewarden_proto::SessionSpec).
    Cli,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Name,
    SessionId,
    Type,
    Bool,
    /// A whole number, at least this.
    Count(u32),
    Amount,
    Duration,
    /// A duration, or none at all.
    Wait,
    /// An amount of memory.
    Size,
    Shutdown,
    Backoff,
    Choice(&'static [&'static str]),
    Choices(&'static [&'static str]),
    TextList,
    Path,
    Program,
    PathList,
    PathOrTable,
    Env,
    InheritEnv,
    ExtraArgs,
    Defaults,
    Children,
    Templates,
}

/// One key: a row of the table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(super) name: &'static str,
    pub(super) whose: Whose,
    scopes: u8,
    pub(super) kind: Kind,
    /// What another value means to a tree that runs.
    pub(crate) effect: Effect,
    /// Whether its value may hold a secret, and so must not stand in a report or a diff.
    pub(crate) secret: bool,
    /// The default in words, where it is not the same everywhere.
    pub(super) default: Option<&'static str>,
    pub(super) doc: &'static str,
}

impl Key {
    pub(crate) fn is_in(&self, scope: Scope) -> bool {
        self.scopes & scope.bit() != 0
    }

    /// Whether a child's table is merged with that of `[defaults]`, and does not replace it.
    pub(super) fn is_merged(&self) -> bool {
        matches!(self.kind, Kind::Env | Kind::ExtraArgs)
    }

    /// Lets it stand in these tables and no others.
    pub(super) const fn only(mut self, scopes: u8) -> Self {
        self.scopes = scopes;
        self
    }

    /// Lets it stand in these tables as well.
    pub(super) const fn also(mut self, scopes: u8) -> Self {
        self.scopes |= scopes;
        self
    }

    /// Says what another value means, where it is not what it means for most keys of the same owner.
    pub(super) const fn on_change(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Says the default in words, where a form cannot: it depends on another key, or is a file's and not the library's.
    pub(super) const fn by_default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Hides its values.
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

const fn key(
    whose: Whose,
    scopes: u8,
    effect: Effect,
    name: &'static str,
    kind: Kind,
    doc: &'static str,
) -> Key {
    Key { name, whose, scopes, kind, effect, secret: false, default: None, doc }
}

/// What makes the file a tree.
pub(super) const fn file(name: &'static str, scopes: u8, kind: Kind, doc: &'static str) -> Key {
    key(Whose::File, scopes, Effect::AtOnce, name, kind, doc)
}

/// What concerns the whole tree, and holds when it is started again.
pub(super) const fn tree(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(Whose::Tree, ROOT, Effect::NextTree, name, kind, doc)
}

/// How many sessions of a template there may be.
pub(super) const fn template(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(Whose::Template, TEMPLATE, Effect::AtOnce, name, kind, doc)
}

/// How a supervisor behaves.
pub(super) const fn supervisor(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(Whose::Supervisor, TREE, Effect::AtOnce, name, kind, doc)
}

/// How a child is supervised.
pub(super) const fn child(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(Whose::Child, CHILD, Effect::AtOnce, name, kind, doc)
}

/// An option of ours of a session.
pub(super) const fn ours(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(Whose::Session, SHARED, Effect::AtOnce, name, kind, doc)
}

/// An option of the session's CLI, which has another value from the next CLI on.
pub(super) const fn cli(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(Whose::Cli, SHARED, Effect::NextCli, name, kind, doc)
}
