//! Whatever a signature of `treewarden` mentions can be named through `treewarden`: a program needs no second crate of the workspace
//! for it.
//!
//! It reads what rustdoc writes of the crates as JSON, which `.ci/public-names` makes, and the gate before its tests; elsewhere it is
//! skipped, and says so. The way from the crate's root follows public modules and re-exports, also into other crates of the workspace.
//! On it are the types that can be named; what their fields, functions and traits mention must be among them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

/// The folder of the JSON files.
const FOLDER: &str = "TREEWARDEN_RUSTDOC_JSON";

/// One crate, as rustdoc tells of it.
struct Crate {
    json: Value,
    /// Its own items by their paths, of private modules too.
    own: HashMap<String, u64>,
}

/// The crates of the workspace, by the names that they have in paths.
struct Workspace(HashMap<String, Crate>);

/// An item: its crate and its id there.
type Item<'w> = (&'w str, u64);

impl Workspace {
    fn read(folder: &Path) -> Self {
        let files =
            std::fs::read_dir(folder).expect("the folder is there").flatten().map(|entry| entry.path());
        let ours = files.filter(|file| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("treewarden") && name.ends_with(".json")
        });
        Self(ours.map(|file| Crate::read(&file)).collect())
    }

    fn item(&self, (of, id): Item<'_>) -> Option<&Value> {
        self.0[of].json["index"].get(id.to_string())
    }

    /// The path of an item that `of` knows by this id, private modules included.
    fn path(&self, (of, id): Item<'_>) -> Option<String> {
        joined(&self.0[of].json["paths"][id.to_string()])
    }

    /// The item where it is declared, if that is a crate of the workspace.
    fn declared<'w>(&'w self, item: Item<'w>) -> Option<Item<'w>> {
        if self.item(item).is_some() {
            return Some(item);
        }
        let path = self.path(item)?;
        let (name, declares) = self.0.get_key_value(path.split("::").next()?)?;
        Some((name, *declares.own.get(&path)?))
    }
}

impl Crate {
    fn read(file: &Path) -> (String, Self) {
        let text = std::fs::read(file).expect("it can be read");
        let json: Value = serde_json::from_slice(&text).expect("rustdoc writes JSON");
        let root = json["index"][json["root"].to_string()]["name"].as_str().expect("a crate has a name");
        let paths = json["paths"].as_object().expect("rustdoc tells the paths");
        let own = paths.iter().filter(|(_, of)| of["crate_id"] == 0);
        let own = own.map(|(id, of)| (joined(of).expect("a path"), id.parse().expect("an id"))).collect();
        (root.to_owned(), Self { own, json })
    }
}

fn joined(of: &Value) -> Option<String> {
    let parts: Option<Vec<&str>> = of["path"].as_array()?.iter().map(Value::as_str).collect();
    Some(parts?.join("::"))
}

/// What can be named, and what is mentioned.
struct Walk<'w> {
    all: &'w Workspace,
    seen: BTreeSet<Item<'w>>,
    named: BTreeSet<String>,
    /// What is mentioned, and where first.
    mentioned: BTreeMap<String, String>,
}

impl<'w> Walk<'w> {
    fn of(all: &'w Workspace, name: &'w str) -> Self {
        let mut walk =
            Self { all, seen: BTreeSet::new(), named: BTreeSet::new(), mentioned: BTreeMap::new() };
        let root = all.0[name].json["root"].as_u64().expect("an id");
        walk.go((name, root), name);
        walk
    }

    /// Goes to an item that can be named as `way`.
    fn go(&mut self, item: Item<'w>, way: &str) {
        let Some(found) = self.all.item(item).filter(|_| self.seen.insert(item)) else { return };
        let (kind, inner) = inner(found);
        match kind {
            "module" => {
                for child in ids(&inner["items"]) {
                    self.child((item.0, child), way);
                }
                return;
            }
            "use" => return self.follow(item.0, inner, way),
            "type_alias" => {
                // Whoever names the alias has named what it stands for.
                let target = inner["type"]["resolved_path"]["id"].as_u64();
                self.named.extend(target.and_then(|id| self.all.path((item.0, id))));
            }
            _ => {}
        }
        self.named.extend(self.all.path(item));
        self.mentions(item.0, inner, way);
        for child in parts(kind, inner) {
            self.part((item.0, child), way, kind == "struct");
        }
        for block in ids(&inner["impls"]) {
            self.block((item.0, block), way);
        }
    }

    fn child(&mut self, child: Item<'w>, way: &str) {
        let Some(found) = self.all.item(child).filter(|found| found["visibility"] == "public") else {
            return;
        };
        match found["name"].as_str() {
            Some(name) => self.go(child, &format!("{way}::{name}")),
            None => self.go(child, way),
        }
    }

    /// A re-export: of one item under a name, or of all of a module.
    fn follow(&mut self, of: &'w str, inner: &Value, way: &str) {
        let Some(id) = inner["id"].as_u64() else { return };
        self.named.extend(self.all.path((of, id)));
        let Some(target) = self.all.declared((of, id)) else { return };
        match (inner["is_glob"] == true, inner["name"].as_str()) {
            (false, Some(name)) => self.go(target, &format!("{way}::{name}")),
            _ => self.go(target, way),
        }
    }

    /// A field, a variant, or an item of a trait.
    fn part(&mut self, part: Item<'w>, way: &str, may_be_private: bool) {
        let Some(found) = self.all.item(part) else { return };
        if may_be_private && found["visibility"] != "public" {
            return;
        }
        let way = format!("{way}::{}", found["name"].as_str().unwrap_or_default());
        let (kind, inner) = inner(found);
        self.mentions(part.0, inner, &way);
        for field in parts(kind, inner) {
            self.part((part.0, field), &way, false);
        }
    }

    /// An `impl` block.
    fn block(&mut self, block: Item<'w>, way: &str) {
        let Some(found) = self.all.item(block) else { return };
        let (_, inner) = inner(found);
        // What the compiler adds to every type is nobody's signature.
        if inner["is_synthetic"] == true || !inner["blanket_impl"].is_null() {
            return;
        }
        self.mentions(block.0, &inner["generics"], way);
        // The trait itself need not be named by whoever has the type; `From<X>` is for whoever has an `X`.
        self.mentions(block.0, &inner["trait"]["args"], way);
        for item in ids(&inner["items"]) {
            self.part((block.0, item), way, inner["trait"].is_null());
        }
    }

    /// Notes every type and trait of the workspace that stands somewhere below a value.
    fn mentions(&mut self, of: &'w str, value: &Value, way: &str) {
        match value {
            Value::Object(map) => {
                // That is how rustdoc writes a path to a type or a trait.
                if let (true, true, Some(id)) =
                    (map.contains_key("path"), map.contains_key("args"), map.get("id"))
                {
                    self.mention((of, id.as_u64().expect("an id")), way);
                }
                map.values().for_each(|value| self.mentions(of, value, way));
            }
            Value::Array(list) => list.iter().for_each(|value| self.mentions(of, value, way)),
            _ => {}
        }
    }

    fn mention(&mut self, item: Item<'w>, way: &str) {
        let Some(path) = self.all.path(item).filter(|path| path.starts_with("treewarden")) else { return };
        let declared = self.all.declared(item).and_then(|item| self.all.item(item));
        // What its own crate lets nobody name, such as the form behind a `try_from`, is no gap of this one.
        if declared.is_none_or(|declared| declared["visibility"] == "public") {
            self.mentioned.entry(path).or_insert_with(|| way.to_owned());
        }
    }

    /// What is mentioned and cannot be named, each with where it is mentioned.
    fn missing(&self) -> Vec<String> {
        let missing = self.mentioned.iter().filter(|(path, _)| !self.named.contains(*path));
        missing.map(|(path, way)| format!("{path}, which {way} mentions")).collect()
    }
}

/// What kind of item it is, and what rustdoc tells of that kind.
fn inner(item: &Value) -> (&str, &Value) {
    let inner = item["inner"].as_object().expect("an item has an inside");
    let (kind, inner) = inner.iter().next().expect("of one kind");
    (kind, inner)
}

/// The fields of a struct or a variant, the variants of an enum, the items of a trait.
fn parts(kind: &str, inner: &Value) -> Vec<u64> {
    match kind {
        "struct" | "variant" => {
            let of = &inner["kind"];
            let forms = [&of["tuple"], &of["plain"]["fields"], &of["struct"]["fields"]];
            forms.into_iter().flat_map(ids).collect()
        }
        "enum" => ids(&inner["variants"]),
        "union" => ids(&inner["fields"]),
        "trait" => ids(&inner["items"]),
        _ => Vec::new(),
    }
}

fn ids(list: &Value) -> Vec<u64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

#[test]
fn what_a_signature_of_treewarden_mentions_can_be_named_through_treewarden() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        eprintln!(
            "skipped: {FOLDER} is not set; .ci/public-names makes the folder and prints it, and the gate sets it"
        );
        return;
    };
    let all = Workspace::read(folder.as_ref());
    let walk = Walk::of(&all, "treewarden");
    // That the walk goes into other crates at all, and sees what is there.
    for known in ["treewarden_proto::spec::SessionSpec", "treewarden::session::handle::Session"] {
        assert!(
            walk.named.contains(known),
            "{known} is not found; does rustdoc write its JSON otherwise now?"
        );
    }
    assert!(walk.mentioned.len() > 100, "only {:?} are mentioned", walk.mentioned);
    let missing = walk.missing();
    assert!(missing.is_empty(), "re-export these from `treewarden`:\n{}", missing.join("\n"));
}
