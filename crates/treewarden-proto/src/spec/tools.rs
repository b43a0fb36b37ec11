//! The tools, who may use them, and MCP servers.

use serde_json::json;

use super::argv::Args;
use super::error::Faults;
use super::{McpConfig, PermissionMode, SessionSpec};

impl SessionSpec {
    /// Sets the built-in tools that exist at all; none at all if `tools` is empty.
    #[must_use]
    pub fn tools<T: Into<String>>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        self.tools = Some(tools.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the tools, or rules such as `Bash(git:*)`, that run without asking.
    #[must_use]
    pub fn allowed_tools<T: Into<String>>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        self.allowed_tools = tools.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the tools, or rules, that never run.
    #[must_use]
    pub fn disallowed_tools<T: Into<String>>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        self.disallowed_tools = tools.into_iter().map(Into::into).collect();
        self
    }

    /// Sets what happens to a tool call that no rule decides.
    #[must_use]
    pub fn permission_mode(mut self, mode: PermissionMode) -> Self {
        self.permission_mode = Some(mode);
        self
    }

    /// Sets the MCP servers.
    #[must_use]
    pub fn mcp_config(mut self, config: impl Into<McpConfig>) -> Self {
        self.mcp_config = Some(config.into());
        self
    }
}

pub(super) fn check(spec: &SessionSpec, faults: &mut Faults) {
    let tools = spec.tools.as_deref().unwrap_or_default();
    let lists = [
        ("tools", tools),
        ("allowed_tools", spec.allowed_tools.as_slice()),
        ("disallowed_tools", spec.disallowed_tools.as_slice()),
    ];
    for (option, list) in lists {
        for tool in list {
            faults.empty(option, Some(tool));
            faults.nul(option, tool);
        }
        // A refusal wins in the CLI: the tool would silently not be there.
        for tool in list.iter().filter(|_| option != "disallowed_tools") {
            if spec.disallowed_tools.contains(tool) {
                let text = format_args!("{tool:?} stands both in `{option}` and in `disallowed_tools`");
                faults.add(&[option, "disallowed_tools"], text);
            }
        }
    }
    if let Some(McpConfig::Path(path)) = &spec.mcp_config {
        faults.path_in_text("mcp_config", path);
    }
}

pub(super) fn args(spec: &SessionSpec, args: &mut Args) {
    // An empty list is passed on, unlike the lists below: `--tools=` means none, and without the flag the CLI
    // has its default.
    args.value_of("--tools", spec.tools.as_ref().map(|tools| tools.join(",")));
    args.list("--allowedTools", &spec.allowed_tools);
    args.list("--disallowedTools", &spec.disallowed_tools);
    args.value_of("--permission-mode", spec.permission_mode);
    match &spec.mcp_config {
        Some(McpConfig::Path(path)) => args.value("--mcp-config", path.display()),
        Some(McpConfig::Servers(servers)) => args.value("--mcp-config", json!({ "mcpServers": servers })),
        None => {}
    }
}
