//! Where a conversation is resumed: the true leaf of its transcript.
//!
//! The CLI's transcript is a tree of entries. A CLI that resumes goes on at the leaf that the last `last-prompt` entry
//! names. It writes that entry when a resume starts and on a clean exit, not after a turn. So after a kill it may go
//! back to a dead branch, and every turn since is silently gone (measured with CLI 2.1.330). This module says which
//! leaf is the true one, and whether the CLI has to be told.
//!
//! It reads no file; [`Transcript`] is fed one entry after another by whoever does. It keeps a few words of each entry,
//! not the entries. Whoever fed it the end of a file only is told by [`Transcript::missing`] what the rest would have to
//! hold to change the decision.

use std::collections::{BTreeSet, HashMap, HashSet};

/// What an entry of the transcript is to the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A message of the user's side: a prompt or the results of tools.
    User,
    /// A message of the model.
    Assistant,
    /// Anything else that is a link of the chain: an attachment, a note of the system.
    Link,
}

/// One entry of the transcript, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its uuid.
    pub uuid: String,
    /// The entry that it follows.
    pub parent: Option<String>,
    /// What it is.
    pub role: Role,
    /// It belongs to a sub-agent's conversation.
    pub side_chain: bool,
    /// The tool calls that it makes.
    pub calls: Vec<String>,
    /// The tool calls that it has the results of.
    pub results: Vec<String>,
}

#[derive(Debug)]
struct Node {
    parent: Option<String>,
    role: Role,
    calls: Vec<String>,
}

/// Why a conversation cannot be resumed as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// There is no message in it.
    #[error("its transcript holds no message")]
    Empty,
    /// The last settled turn is not in the branch that would be resumed.
    #[error("the last settled turn {settled} is not in the branch that ends at {leaf}")]
    Settled {
        /// The turn.
        settled: String,
        /// The true leaf.
        leaf: String,
    },
}

/// Where to resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// The true leaf.
    pub leaf: String,
    /// The CLI would go elsewhere, and has to be told.
    pub hint: bool,
}

/// The tree of a transcript.
#[derive(Debug, Default)]
pub struct Transcript {
    nodes: HashMap<String, Node>,
    done: HashSet<String>,
    newest: Option<String>,
    hinted: Option<String>,
}

impl Transcript {
    /// Adds an entry, in the order of the file.
    pub fn entry(&mut self, entry: Entry) {
        self.done.extend(entry.results);
        if entry.role != Role::Link && !entry.side_chain {
            self.newest = Some(entry.uuid.clone());
        }
        let node = Node { parent: entry.parent, role: entry.role, calls: entry.calls };
        self.nodes.insert(entry.uuid, node);
    }

    /// Adds a `last-prompt` entry, which names the leaf that the CLI would resume at.
    pub fn hint(&mut self, leaf: &str) {
        self.hinted = Some(leaf.to_owned());
    }

    /// Tells whether it holds a message at all.
    pub fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    /// The true leaf: the newest message that is not a side chain's, and while that is a model's message with a tool
    /// call that has no result, the message before it.
    pub fn leaf(&self) -> Option<&str> {
        let dangles = |node: &Node| node.calls.iter().any(|call| !self.done.contains(call));
        self.chain(self.newest.as_deref()?)
            .filter(|(_, node)| node.role != Role::Link)
            .find(|(_, node)| node.role == Role::User || !dangles(node))
            .map(|(uuid, _)| uuid)
    }

    /// Says where to resume, if everything up to `settled` would still be there.
    ///
    /// # Errors
    ///
    /// [`Lost`] if there is nothing to resume, or if the settled turn would be missing.
    pub fn resume_point(&self, settled: Option<&str>) -> Result<ResumePoint, Lost> {
        let leaf = self.leaf().ok_or(Lost::Empty)?;
        if let Some(settled) = settled
            && !self.descends(leaf, settled)
        {
            return Err(Lost::Settled { settled: settled.to_owned(), leaf: leaf.to_owned() });
        }
        let hint = self.hinted.as_deref().is_some_and(|hinted| !self.is_same_place(hinted, leaf));
        // Without any hint the CLI takes the newest entry, which is a dead end if a call dangles there.
        let stray = self.hinted.is_none() && self.newest.as_deref() != Some(leaf);
        Ok(ResumePoint { leaf: leaf.to_owned(), hint: hint || stray })
    }

    /// What decides whether an end of the file that was fed alone tells the same as the whole file: the words that must not
    /// stand in what comes before it; `None` if that has to be read in any case.
    ///
    /// `turns` are those that [`Transcript::resume_point`] and [`Transcript::descends`] will be asked about. An entry
    /// before the end matters only if something in the end names it, and then its name stands in it; so does the name of
    /// a tool call in its result. Names are compared as they are written: the CLI writes none of them with escapes.
    pub fn missing<'a>(&'a self, turns: &[&'a str], hint: &'a str) -> Option<BTreeSet<&'a str>> {
        let newest = self.newest.as_deref()?;
        let mut missing = BTreeSet::new();
        for (_, node) in self.chain(newest).filter(|(_, node)| node.role != Role::Link) {
            let mut calls = node.calls.iter().filter(|call| !self.done.contains(*call)).peekable();
            if node.role == Role::User || calls.peek().is_none() {
                break;
            }
            missing.extend(calls.map(String::as_str));
        }
        let Some(leaf) = self.leaf() else {
            missing.extend(self.gap(newest));
            return Some(missing);
        };
        for turn in turns {
            if let Some(gap) = self.gap(leaf)
                && !self.descends(leaf, turn)
            {
                missing.insert(if self.nodes.contains_key(*turn) { gap } else { turn });
            }
        }
        match self.hinted.as_deref() {
            None => drop(missing.insert(hint)),
            Some(hinted)
                if !self.chain(hinted).any(|(uuid, node)| node.role != Role::Link || uuid == leaf) =>
            {
                missing.extend(self.gap(hinted));
            }
            Some(_) => {}
        }
        Some(missing)
    }

    /// The first entry on the way back from here that was not fed; `None` if the way ends at a beginning, or in a circle.
    fn gap<'a>(&'a self, from: &'a str) -> Option<&'a str> {
        let Some((uuid, _)) = self.chain(from).last() else { return Some(from) };
        let parent = self.nodes.get(uuid)?.parent.as_deref()?;
        (!self.nodes.contains_key(parent)).then_some(parent)
    }

    /// Tells whether `leaf` is `ancestor` or comes after it.
    pub fn descends(&self, leaf: &str, ancestor: &str) -> bool {
        self.chain(leaf).any(|(uuid, _)| uuid == ancestor)
    }

    /// The messages from `leaf` back to `ancestor`, without the links between them and without `ancestor` itself;
    /// `None` if `leaf` does not come after it.
    pub fn messages_after<'a>(&'a self, leaf: &'a str, ancestor: &str) -> Option<Vec<&'a str>> {
        let mut found = false;
        let messages = self
            .chain(leaf)
            .take_while(|(uuid, _)| {
                found = *uuid == ancestor;
                !found
            })
            .filter(|(_, node)| node.role != Role::Link)
            .map(|(uuid, _)| uuid)
            .collect();
        found.then_some(messages)
    }

    /// A hint may name a link after the leaf: the CLI does so itself.
    fn is_same_place(&self, hinted: &str, leaf: &str) -> bool {
        let message = self.chain(hinted).find(|(uuid, node)| node.role != Role::Link || *uuid == leaf);
        message.is_some_and(|(uuid, _)| uuid == leaf)
    }

    /// An entry and those before it; a circle ends where it closes.
    fn chain<'a>(&'a self, from: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let mut next = self.nodes.get_key_value(from);
        let mut left = self.nodes.len();
        std::iter::from_fn(move || {
            let (uuid, node) = next?;
            left = left.checked_sub(1)?;
            next = node.parent.as_deref().and_then(|parent| self.nodes.get_key_value(parent));
            Some((uuid.as_str(), node))
        })
    }
}
