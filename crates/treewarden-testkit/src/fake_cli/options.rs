//! The arguments that the fake CLI understands; it ignores the other known ones.

#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) version: bool,
    pub(super) session_id: Option<String>,
    pub(super) resume: Option<String>,
    pub(super) partial: bool,
    pub(super) replay: bool,
    pub(super) model: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) unknown: Option<String>,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Self {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (flag, mut value) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let mut take = || value.take().or_else(|| args.next().cloned());
            match flag {
                "-v" | "--version" => options.version = true,
                "--session-id" => options.session_id = take(),
                "--resume" | "-r" => options.resume = take(),
                "--model" => options.model = take(),
                "--permission-mode" => options.mode = take(),
                "--include-partial-messages" => options.partial = true,
                "--replay-user-messages" => options.replay = true,
                "--bad-flag" => options.unknown = Some(arg.clone()),
                _ => {}
            }
        }
        options
    }
}
