// The official TypeScript SDK: one firehose turn, then empty turns. Prints its figures as JSON.
const [, , sdk, cli, frames, turns] = process.argv;
const { query } = await import(sdk);

const waiting = [];
let wake;
async function* prompts() {
  while (true) {
    while (waiting.length) yield waiting.shift();
    await new Promise((resolve) => (wake = resolve));
  }
}

const messages = query({
  prompt: prompts(),
  options: { pathToClaudeCodeExecutable: cli, includePartialMessages: true },
});

async function turn(text) {
  waiting.push({ type: 'user', message: { role: 'user', content: text }, parent_tool_use_id: null, session_id: '' });
  wake?.();
  for (let seen = 0; ; seen++) {
    const { value, done } = await messages.next();
    if (done) throw new Error('the CLI ended');
    if (value.type === 'result') return seen;
  }
}

await turn('N=0');
let began = performance.now();
const seen = await turn(`N=${frames}`);
const firehose = (performance.now() - began) / 1000;
began = performance.now();
for (let i = 0; i < +turns; i++) await turn('N=0');
const each = (performance.now() - began) / 1000 / turns;
console.log(JSON.stringify({ seen, frames_per_s: seen / firehose, turn_s: each }));
process.exit(0);
