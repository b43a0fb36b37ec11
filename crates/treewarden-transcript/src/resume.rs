//! Where a conversation is resumed, and whether anything of it is missing: the decision, without the file.
//!
//! The CLI's transcript is a tree of entries. A CLI that resumes goes on at the newest message below the one that the last
//! `last-prompt` entry names. It writes that entry when a resume starts and on a clean exit, not after each turn. So after a
//! kill it may go back to a dead branch, and every turn since is silently gone (measured with CLI 2.1.330 and 2.1.332).
//!
//! Which turn must be there says the *anchor*: the newest settled turn that the file holds. The true leaf is the newest
//! message on its branch. The newest of the whole file is not: a result that came late for an old tool call is a small
//! branch far back (`25-late-result-grafted-on-an-old-call` showed a conversation taken for lost by it).
//!
//! Whoever read the end of a file only is told by [`undecided`] what the rest would have to hold to change the decision.

use std::collections::HashSet;

use treewarden_proto::TurnId;

use crate::line::HINT;
use crate::tree::{Below, Id, Role, Tree};
use crate::{Known, Settled};

/// Where to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// The true leaf.
    pub(crate) leaf: Id,
    /// The CLI would go elsewhere, and has to be told.
    pub(crate) hint: bool,
    /// Where the prompt of the open turn stands before the leaf.
    pub(crate) open: OpenPrompt,
    /// A settled turn says where the conversation is.
    pub(crate) anchored: bool,
}

/// Where the prompt of the turn that is to be carried on stands in the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenPrompt {
    /// Nowhere: it was never seen.
    Absent,
    /// Under its own id, as a prompt: the CLI can run it again by itself.
    Own,
    /// Woven into a turn of the CLI's own, under another id; or in words that the CLI takes for a note of its own. It does
    /// not know the prompt again: sent once more it would stand twice (measured with CLI 2.1.332).
    Woven,
    /// Somebody else's prompt stands behind it: another writer went on with the conversation. Run again, or asked to go on
    /// with, it would get the answer to that one.
    Overtaken,
}

/// What must be there and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The prompt of a turn that was settled.
    Turn(TurnId),
    /// The model's answer to one.
    Answer(TurnId),
    /// The conversation's first message, and with it what came before something that is there.
    First,
}

/// Says where to resume; `None` if there is nothing to resume, and nothing is missing either.
///
/// `settled` has the turns that are over, newest first. `open` is to be carried on.
pub(crate) fn point(
    tree: &Tree,
    settled: &[Settled],
    open: Option<TurnId>,
) -> Result<Option<Point>, Missing> {
    let anchor = anchor(tree, settled)?;
    let anchored = anchor.map(|anchor| tree.places(anchor.turn)).unwrap_or_default();
    // A prompt without its answer is a turn that the next context would not know the outcome of: a disk that
    // was full takes the one and not the other.
    if let Some(anchor) = anchor.filter(|anchor| anchor.written && anchor.answered)
        && newest_of_model(tree, &anchored).is_none()
    {
        return Err(Missing::Answer(anchor.turn));
    }
    let opened = open.map(|turn| tree.places(turn)).unwrap_or_default();
    if tree.newest().next().is_none() {
        return Ok(None);
    }
    let base = base(tree, &anchored, &opened);
    let Some(leaf) = leaf(tree, base) else { return Ok(None) };
    let hint = tree.hinted().is_none_or(|hinted| !is_same_place(tree, hinted, leaf));
    let place = tree.chain(leaf).map(|(id, _)| id).find(|id| opened.contains(id));
    let nudges = open.map(|turn| tree.nudges(turn)).unwrap_or_default();
    let open = match (place, open.map(Id::from)) {
        // Told to run again what the file ends with, the CLI would run an older turn: this one's prompt is
        // not in it.
        (None, _) => OpenPrompt::Absent,
        // Before `Own`: the prompt stands in the file under its own id, and the CLI would all the same run
        // the other writer's.
        _ if !goes_on_with(tree, leaf, &opened, &nudges) => OpenPrompt::Overtaken,
        (Some(own), Some(open)) if own == open && !tree.node(own).is_some_and(|node| node.like_a_note) => {
            OpenPrompt::Own
        }
        _ => OpenPrompt::Woven,
    };
    Ok(Some(Point { leaf, hint, open, anchored: anchor.is_some() }))
}

/// Tells whether an entry goes on with a turn: on the way back from it to the turn's prompt stands nobody else's.
///
/// A note of the CLI's about a task of its own is nobody's: a CLI that resumes writes one for each task that died with its
/// predecessor, and goes on with the turn behind it (2.1.332).
pub(crate) fn goes_on_with(tree: &Tree, from: Id, places: &[Id], nudges: &HashSet<Id>) -> bool {
    let is_somebodys = |id: &Id, asked: bool| places.contains(id) || (asked && !nudges.contains(id));
    let owner = tree.chain(from).find(|(id, node)| is_somebodys(id, node.asked));
    owner.is_some_and(|(id, _)| places.contains(&id))
}

/// Says where to resume, as [`point`] does; the whole file must have been read.
///
/// Without its first message a file is the conversation only if a settled turn says so and nothing that goes on in it is
/// without what it goes on from.
pub(crate) fn sound(tree: &Tree, known: &Known, open: Option<TurnId>) -> Result<Option<Point>, Missing> {
    let point = point(tree, &known.settled, open)?;
    let has_first = known.first.as_deref().is_none_or(|first| tree.node(Id::of(first)).is_some());
    let whole = point.is_some_and(|point| point.anchored && begins_amid(tree, point.leaf).is_none());
    if has_first || whole { Ok(point) } else { Err(Missing::First) }
}

/// The line that the file goes on from and does not hold, if it begins in the middle.
pub(crate) fn begins_amid(tree: &Tree, leaf: Id) -> Option<Id> {
    hole(tree, leaf).filter(|hole| hole.before.is_none()).map(|hole| hole.missing)
}

/// A line that the conversation names and the file does not hold: a CLI that resumes drops all that is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The name of the line that is missing.
    pub(crate) missing: Id,
    /// The newest message before the hole, in the order of the file; `None` if the file begins with it.
    pub(crate) before: Option<Id>,
}

/// Looks for a hole on the way from the leaf to the beginning.
pub(crate) fn hole(tree: &Tree, leaf: Id) -> Option<Hole> {
    let (first, node) = tree.chain(leaf).last()?;
    // A way that ends in a circle names only what is there.
    let missing = node.parent.filter(|parent| tree.node(*parent).is_none())?;
    let is_before = |id: &Id| tree.node(*id).is_some_and(|other| other.at < node.at);
    let before = tree.newest().filter(is_before).find(|id| !tree.descends(*id, &[first]));
    Some(Hole { missing, before })
}

/// The newest settled turn that is there.
fn anchor<'a>(tree: &Tree, settled: &'a [Settled]) -> Result<Option<&'a Settled>, Missing> {
    for turn in settled {
        if !tree.places(turn.turn).is_empty() {
            return Ok(Some(turn));
        }
        // The newest turn that must be there is not. An older one that is there would be a branch without it:
        // resumed there, the conversation would go on as if the turn had never been.
        if turn.written {
            return Err(Missing::Turn(turn.turn));
        }
    }
    Ok(None)
}

/// The entries that the leaf must come after: those of the open turn if it goes on from the anchor, or the
/// anchor's.
fn base<'a>(tree: &Tree, anchored: &'a [Id], opened: &'a [Id]) -> &'a [Id] {
    // The open turn's prompt may stand on another branch than the anchor: the leaf is then looked for below
    // the anchor, so that the settled turn is not left behind.
    let goes_on = anchored.is_empty() || opened.iter().any(|place| tree.descends(*place, anchored));
    if goes_on && !opened.is_empty() { opened } else { anchored }
}

/// The true leaf.
pub(crate) fn leaf(tree: &Tree, base: &[Id]) -> Option<Id> {
    if base.is_empty() {
        return tree.newest().next();
    }
    // Memory of what was walked: without it a long chain would be walked once for each message, which is
    // quadratic.
    let mut below = Below::new(tree, base);
    let model = newest_of_model(tree, base);
    let model = model.as_slice();
    let mut after_model = Below::new(tree, model);
    // A late result of a tool that the model did not wait for leads nowhere.
    let is_late = |id| tree.node(id).is_some_and(|node| node.result);
    let found = tree
        .newest()
        .find(|id| below.holds(*id) && (model.is_empty() || !is_late(*id) || after_model.holds(*id)));
    // A prompt that is a link, with nothing after it, is the place itself.
    found.or_else(|| base.iter().copied().max_by_key(|id| tree.node(*id).map(|node| node.at)))
}

fn newest_of_model(tree: &Tree, places: &[Id]) -> Option<Id> {
    let mut below = Below::new(tree, places);
    let is_of_model = |id| tree.node(id).is_some_and(|node| node.role == Role::Assistant);
    tree.newest().find(|id| is_of_model(*id) && below.holds(*id))
}

/// Tells whether a hint leads to the leaf. It may name a link behind the leaf, as the CLI's own hints do.
fn is_same_place(tree: &Tree, hinted: Id, leaf: Id) -> bool {
    if hinted == leaf {
        return true;
    }
    let at = |id| tree.node(id).map(|node| node.at);
    // A hint at something before the leaf, or at nothing in the file, is one that an earlier CLI left: the
    // next one would go back there.
    if at(hinted) < at(leaf) {
        return false;
    }
    let message = tree.chain(hinted).find(|(id, node)| *id == leaf || node.role != Role::Link);
    message.is_some_and(|(id, _)| id == leaf)
}

/// What decides whether the end of a file tells the same as the whole of it: the words that must not stand in what comes
/// before; `None` if that has to be read in any case.
///
/// An entry before the end matters only if something in the end names it, or if it names a turn that is asked for. Names
/// are compared as they are written: the CLI writes none of them with escapes.
pub(crate) fn undecided(tree: &Tree, settled: &[Settled], open: Option<TurnId>) -> Option<Vec<String>> {
    let newest = tree.newest().next()?;
    let mut words = Vec::new();
    let mut anchor = None;
    for turn in settled {
        if !tree.places(turn.turn).is_empty() {
            anchor = Some(turn);
            break;
        }
        // It may stand before the end that was read, or be lost: only the whole file tells.
        if turn.written {
            return None;
        }
        words.push(turn.turn.to_string());
    }
    let anchored = anchor.map(|anchor| tree.places(anchor.turn)).unwrap_or_default();
    if let Some(anchor) = anchor {
        let mut after = tree.chain(newest).take_while(|(id, _)| !anchored.contains(id));
        let is_answered = after.any(|(_, node)| node.role == Role::Assistant);
        // The branch is not seen to begin at the anchor, or has no answer: what comes before the window may
        // join or complete it.
        if !tree.descends(newest, &anchored) || (anchor.written && anchor.answered && !is_answered) {
            return None;
        }
    }
    let opened = open.map(|turn| tree.places(turn)).unwrap_or_default();
    let base = base(tree, &anchored, &opened);
    match open {
        Some(open) if opened.is_empty() => words.push(open.to_string()),
        // Where it is not known to go on from the anchor, what is before may join the two.
        Some(_) if base != opened => return None,
        _ => {}
    }
    if !base.is_empty() && (!tree.descends(newest, base) || !is_taken_in_the_end(tree, newest, base)) {
        return None;
    }
    match tree.hinted() {
        None => words.push(HINT.to_owned()),
        Some(hinted) if !is_place_known(tree, hinted, newest) => return None,
        Some(_) => {}
    }
    Some(words)
}

/// Tells whether the newest message is the leaf, and no late result, whatever stands before the end that was
/// read.
fn is_taken_in_the_end(tree: &Tree, newest: Id, base: &[Id]) -> bool {
    if !tree.node(newest).is_some_and(|node| node.result) {
        return true;
    }
    let model = tree.newest().find(|id| tree.node(*id).is_some_and(|node| node.role == Role::Assistant));
    model.is_some_and(|model| tree.descends(newest, &[model]) && tree.descends(model, base))
}

/// Tells whether the end that was read shows by itself if the hint names the leaf's place.
fn is_place_known(tree: &Tree, hinted: Id, leaf: Id) -> bool {
    let at = |id| tree.node(id).map(|node| node.at);
    // What was not read is older than the leaf.
    if hinted == leaf || at(hinted) < at(leaf) {
        return true;
    }
    let mut place = tree.chain(hinted).skip_while(|(id, node)| *id != leaf && node.role == Role::Link);
    place.next().is_some() || tree.chain(hinted).last().is_some_and(|(_, node)| node.parent.is_none())
}
