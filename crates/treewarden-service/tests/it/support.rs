//! A tree in a folder of its own, and a door to it whose caller goes when a test says so.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use treewarden::Tree;
use treewarden_service::{Access, Answer, Caller, Gone, Item, Refusal, Request, Service, Sink};

/// A folder with a config file and a state directory, and the service of its tree.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) service: Arc<Service>,
}

impl World {
    /// A tree of sessions of these names, which are never asked anything.
    pub(crate) async fn of(names: &[&str]) -> Self {
        Self::over(Path::new("/nowhere/claude"), names).await
    }

    /// A tree of sessions of these names, on the fake CLI.
    pub(crate) async fn with_a_cli(names: &[&str]) -> Self {
        let cli = tokio::task::spawn_blocking(treewarden_testkit::fake_cli::fake_cli_path).await;
        Self::over(&cli.expect("no panic").expect("the fake CLI is there"), names).await
    }

    async fn over(cli: &Path, names: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let children: String = names.iter().map(|name| format!("[[child]]\nname = {name:?}\n")).collect();
        let text = format!(
            "[defaults]\ninclude_partial_messages = true\ncli_path = {cli:?}\ncwd = {:?}\n\
             env = {{ CLAUDE_CONFIG_DIR = {:?} }}\n{children}",
            dir.path(),
            dir.path().join("home"),
        );
        let file = dir.path().join("treewarden.toml");
        fs::write(&file, text).expect("written");
        let tree = Tree::from_file(&file).expect("valid").state_dir(dir.path().join("state"));
        let tree = tree.start().await.expect("started");
        Self { service: Arc::new(Service::new(tree).config_file(&file)), dir }
    }

    /// Adds a session to the file.
    pub(crate) fn declare(&self, name: &str) {
        self.add("child", name);
    }

    /// Adds a table of this name to the file.
    pub(crate) fn add(&self, table: &str, name: &str) {
        let file = self.dir.path().join("treewarden.toml");
        let text = fs::read_to_string(&file).expect("read");
        fs::write(&file, format!("{text}[[{table}]]\nname = {name:?}\n")).expect("written");
    }

    /// Asks as somebody who may ask anything, and returns the end as JSON.
    pub(crate) async fn ask(&self, request: Value) -> Result<Value, Refusal> {
        let mut door = Door::default();
        self.tell(request, &mut door).await.expect("the caller stays");
        door.end()
    }

    /// Asks through a door.
    pub(crate) async fn tell(&self, request: Value, door: &mut Door) -> Result<(), Gone> {
        let request: Request = serde_json::from_value(request).expect("it is a request");
        self.service.answer(request, Caller::with(Access::Change), door).await
    }

    pub(crate) async fn state(&self, name: &str) -> String {
        let ps = self.ask(json!({ "op": "ps" })).await.expect("answered");
        let sessions = ps["sessions"].as_array().into_iter().flatten();
        let found = sessions.clone().find(|session| session["name"] == name);
        found.map_or_else(
            || panic!("no {name} in {ps}"),
            |session| session["state"].as_str().expect("text").into(),
        )
    }

    pub(crate) async fn end(self) {
        self.service.tree().stop().await;
    }
}

/// What a caller was told, and whether it still waits; its clones are of the same caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door {
    caller: Arc<Told>,
    goes_at: Option<&'static str>,
    takes_no_end: bool,
}

#[derive(Debug, Default)]
struct Told {
    items: Mutex<Vec<Value>>,
    end: Mutex<Option<Result<Value, Refusal>>>,
    gone: AtomicBool,
    goes: Notify,
    told: Notify,
}

impl Door {
    /// Of a caller who goes as soon as it is told an item of this type.
    pub(crate) fn left_at(kind: &'static str) -> Self {
        Self { goes_at: Some(kind), ..Self::default() }
    }

    /// Of a caller who does not take its end.
    pub(crate) fn without_an_end() -> Self {
        Self { takes_no_end: true, ..Self::default() }
    }

    /// The end that was told.
    #[track_caller]
    pub(crate) fn end(&self) -> Result<Value, Refusal> {
        self.caller.end.lock().expect("no panic").clone().expect("every request has an end")
    }

    /// What came before it.
    pub(crate) fn items(&self) -> Vec<Value> {
        self.caller.items.lock().expect("no panic").clone()
    }

    /// The caller goes.
    pub(crate) fn leave(&self) {
        self.caller.gone.store(true, Ordering::Relaxed);
        self.caller.goes.notify_one();
    }

    /// Waits until the caller was told something.
    pub(crate) async fn is_told(&self) {
        tokio::time::timeout(Duration::from_secs(60), self.caller.told.notified())
            .await
            .expect("it is told something");
    }
}

impl Sink for Door {
    async fn item(&mut self, item: Item) -> Result<(), Gone> {
        let item = serde_json::to_value(item).expect("JSON");
        if self.goes_at.is_some_and(|kind| item["type"] == kind) {
            self.leave();
        }
        self.caller.items.lock().expect("no panic").push(item);
        self.caller.told.notify_one();
        Ok(())
    }

    async fn end(&mut self, end: Result<Answer, Refusal>) -> Result<(), Gone> {
        let end = end.map(|answer| serde_json::to_value(answer).expect("JSON"));
        *self.caller.end.lock().expect("no panic") = Some(end);
        self.caller.told.notify_one();
        if self.takes_no_end {
            self.gone().await;
            return Err(Gone);
        }
        Ok(())
    }

    async fn gone(&mut self) -> Gone {
        while !self.is_gone() {
            self.caller.goes.notified().await;
        }
        Gone
    }

    fn is_gone(&self) -> bool {
        self.caller.gone.load(Ordering::Relaxed)
    }
}
