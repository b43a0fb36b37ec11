//! A tree of a file, in a folder of its own, whose sessions run the fake CLI.

use std::path::Path;

use treewarden::config::{self, TreeSpec};
use treewarden::tree::{Outline, Tree};

use crate::fake_cli_path;

/// A folder for a tree, gone with the value.
#[derive(Debug)]
pub struct Ground(tempfile::TempDir);

impl Default for Ground {
    fn default() -> Self {
        Self::new()
    }
}

impl Ground {
    /// Makes the folder.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The tree of a file with these tables; sessions run the fake CLI.
    pub fn spec(&self, tables: &str) -> TreeSpec {
        let (cli, home) = (fake_cli_path(), self.path().join("home"));
        let text = format!(
            "{tables}\n[defaults]\ncli_path = {cli:?}\ncwd = {:?}\nenv = {{ CLAUDE_CONFIG_DIR = {home:?} }}\n",
            self.path()
        );
        config::parse(&text, &self.path().join("treewarden.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts the tree of such a file.
    pub async fn start(&self, tables: &str) -> Tree {
        let builder = Tree::builder(self.spec(tables)).state_dir(self.path().join("state"));
        builder.start().await.expect("the tree starts")
    }

    /// Makes the tree what such a file says.
    pub async fn apply(&self, tree: &Tree, tables: &str) {
        tree.apply(tree.diff(self.spec(tables))).await.expect("it is applied");
    }
}

/// The table of a template with these lines.
pub fn template(name: &str, lines: &str) -> String {
    format!("[[template]]\nname = \"{name}\"\n{lines}\n")
}

/// The table of a session.
pub fn child(name: &str) -> String {
    format!("[[child]]\nname = \"{name}\"\n")
}

/// The nodes of the tree, each as its path.
pub async fn paths(tree: &Tree) -> Vec<String> {
    fn walk(node: &Outline, path: &str, found: &mut Vec<String>) {
        for child in &node.children {
            let path = if path.is_empty() { child.name.clone() } else { format!("{path}/{}", child.name) };
            found.push(path.clone());
            walk(child, &path, found);
        }
    }
    let mut found = Vec::new();
    walk(&tree.outline().await, "", &mut found);
    found
}
