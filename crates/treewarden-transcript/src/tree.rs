//! The entries of a transcript as a tree: which follows which, and under which names a prompt stands there.
//!
//! It keeps a few words of each entry, whatever its length, and never the entry: a transcript of hundreds of megabytes is
//! a tree of a few. It decides nothing; [`resume`](crate::resume) does.

use std::collections::{HashMap, HashSet};
use std::fmt;

use treewarden_proto::TurnId;
use uuid::Uuid;

/// More CLIs than a turn is ever given: each may have been asked once to go on with it.
const NUDGES: u32 = 64;

/// The messages by which the CLI may have been asked to go on with a turn.
pub(crate) fn nudges(turn: TurnId) -> impl Iterator<Item = TurnId> {
    (0..=NUDGES).map(move |attempt| turn.nudge(attempt))
}

/// The name of an entry, in two words. A name that is no UUID has a UUID made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(u64, u64);

impl Id {
    pub(crate) fn of(text: &str) -> Self {
        let plain = as_written(text).unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()));
        let (high, low) = plain.as_u64_pair();
        Self(high, low)
    }
}

impl From<TurnId> for Id {
    fn from(turn: TurnId) -> Self {
        let (high, low) = turn.as_uuid().as_u64_pair();
        Self(high, low)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u64_pair(self.0, self.1).as_hyphenated().fmt(f)
    }
}

/// The UUID that is written as the CLI writes one; the CLI compares them as text.
fn as_written(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    // In capitals, or in braces, it is another name: two lines that the CLI tells apart must not be one entry
    // here.
    (*uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text).then_some(uuid)
}

/// What an entry is to the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A message of the user's side: a prompt or the results of tools.
    User,
    /// A message of the model.
    Assistant,
    /// Anything else that is a link of the chain: an attachment, a note of the system.
    Link,
}

/// One entry, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// The entry that it follows.
    pub(crate) parent: Option<Id>,
    pub(crate) role: Role,
    /// It belongs to a sub-agent's conversation.
    pub(crate) side_chain: bool,
    /// It has the result of a tool.
    pub(crate) result: bool,
    /// It begins a turn: what follows belongs to that.
    pub(crate) prompt: bool,
    /// It is a prompt that somebody put, and no note of the CLI's about a task of its own.
    pub(crate) asked: bool,
    /// It is a prompt whose words look like a note of the CLI's, which runs it never again.
    pub(crate) like_a_note: bool,
    /// The turn whose prompt it is, if the CLI gave the prompt another name.
    pub(crate) woven: Option<Id>,
}

/// An entry in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) parent: Option<Id>,
    /// Its place in the order of the file.
    pub(crate) at: u32,
    pub(crate) role: Role,
    pub(crate) result: bool,
    pub(crate) prompt: bool,
    pub(crate) asked: bool,
    pub(crate) like_a_note: bool,
}

/// The tree.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: HashMap<Id, Node>,
    /// The entries under which prompts stand that have another name.
    woven: HashMap<Id, Vec<Id>>,
    /// The names that are no UUID.
    odd: HashMap<Id, String>,
    /// The messages of the conversation itself, in the order of the file.
    messages: Vec<Id>,
    hinted: Option<Id>,
    /// The version of the CLI that wrote the last line which says one.
    written_by: Option<String>,
    /// How many entries were added.
    entries: u32,
}

impl Tree {
    /// Adds an entry, in the order of the file. Of two with one name the later one counts, as it does for the CLI.
    pub(crate) fn entry(&mut self, uuid: &str, entry: Entry) {
        let id = Id::of(uuid);
        if as_written(uuid).is_none() {
            self.odd.insert(id, uuid.to_owned());
        }
        let at = self.entries;
        // More than four thousand million entries would be a file of a terabyte; the places of those beyond
        // would be equal.
        self.entries = at.saturating_add(1);
        // A sub-agent's messages are in the file as well; taken for the newest, they would be the leaf, and
        // the CLI would be sent there.
        if entry.role != Role::Link && !entry.side_chain {
            self.messages.push(id);
        }
        if let Some(turn) = entry.woven {
            self.woven.entry(turn).or_default().push(id);
        }
        let Entry { parent, role, result, prompt, asked, like_a_note, .. } = entry;
        self.nodes.insert(id, Node { parent, at, role, result, prompt, asked, like_a_note });
    }

    /// Adds a hint, which names the leaf that the CLI would resume at.
    pub(crate) fn hint(&mut self, leaf: &str) {
        let id = Id::of(leaf);
        if as_written(leaf).is_none() {
            self.odd.insert(id, leaf.to_owned());
        }
        self.hinted = Some(id);
    }

    /// Notes which version of the CLI wrote a line, in the order of the file.
    pub(crate) fn written_by(&mut self, version: &str) {
        // Nearly always that of the line before.
        if self.written_by.as_deref() != Some(version) {
            self.written_by = Some(version.to_owned());
        }
    }

    /// The version of the CLI that wrote last.
    pub(crate) fn last_written_by(&self) -> Option<&str> {
        self.written_by.as_deref()
    }

    pub(crate) fn hinted(&self) -> Option<Id> {
        self.hinted
    }

    /// The messages of the conversation itself, newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = Id> + '_ {
        self.messages.iter().rev().copied()
    }

    /// The first message of the conversation itself.
    pub(crate) fn first(&self) -> Option<String> {
        self.messages.first().map(|id| self.name(*id))
    }

    /// Tells whether no entry stands in both.
    pub(crate) fn is_apart_from(&self, other: &Self) -> bool {
        !self.nodes.keys().any(|id| other.nodes.contains_key(id))
    }

    pub(crate) fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The name of an entry as it is written.
    pub(crate) fn name(&self, id: Id) -> String {
        self.odd.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// Where the prompt of a turn stands: under its own name, under others, or nowhere.
    pub(crate) fn places(&self, turn: TurnId) -> Vec<Id> {
        let id = Id::from(turn);
        let own = self.nodes.contains_key(&id).then_some(id);
        own.into_iter().chain(self.woven.get(&id).into_iter().flatten().copied()).collect()
    }

    /// Where the CLI was asked to go on with a turn.
    pub(crate) fn nudges(&self, turn: TurnId) -> HashSet<Id> {
        nudges(turn).flat_map(|nudge| self.places(nudge)).collect()
    }

    /// An entry and those before it; a circle ends where it closes.
    pub(crate) fn chain(&self, from: Id) -> impl Iterator<Item = (Id, &Node)> {
        let mut next = Some(from);
        // No way without a circle is longer than there are entries, so that one that closes ends here and not
        // never.
        let mut left = self.nodes.len();
        std::iter::from_fn(move || {
            let id = next?;
            let node = self.nodes.get(&id)?;
            left = left.checked_sub(1)?;
            next = node.parent;
            Some((id, node))
        })
    }

    /// Tells whether `id` is one of the places or comes after one.
    pub(crate) fn descends(&self, id: Id, places: &[Id]) -> bool {
        self.chain(id).any(|(id, _)| places.contains(&id))
    }
}

/// Which entries come after one of some places, or are one; each is looked at once, whoever asks.
pub(crate) struct Below<'a> {
    tree: &'a Tree,
    places: &'a [Id],
    known: HashMap<Id, bool>,
}

impl<'a> Below<'a> {
    pub(crate) fn new(tree: &'a Tree, places: &'a [Id]) -> Self {
        Self { tree, places, known: HashMap::new() }
    }

    pub(crate) fn holds(&mut self, id: Id) -> bool {
        let mut walked = Vec::new();
        let mut next = Some(id);
        let holds = loop {
            let Some(id) = next else { break false };
            if let Some(known) = self.known.get(&id) {
                break *known;
            }
            if self.places.contains(&id) {
                break true;
            }
            let Some(node) = self.tree.node(id) else { break false };
            // Parents that form a circle come back to this entry, which then descends from no place.
            self.known.insert(id, false);
            walked.push(id);
            next = node.parent;
        };
        if holds {
            self.known.extend(walked.into_iter().map(|id| (id, true)));
        }
        holds
    }
}
