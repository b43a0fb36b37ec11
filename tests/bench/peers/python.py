"""The official Python SDK: one firehose turn, then empty turns. Prints its figures as JSON."""

import asyncio
import json
import sys
import time

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

CLI, FRAMES, TURNS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def main():
    options = ClaudeAgentOptions(cli_path=CLI, include_partial_messages=True)
    async with ClaudeSDKClient(options=options) as client:

        async def turn(text):
            await client.query(text)
            seen = 0
            async for _ in client.receive_response():
                seen += 1
            return seen

        await turn("N=0")
        began = time.perf_counter()
        seen = await turn(f"N={FRAMES}")
        firehose = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(TURNS):
            await turn("N=0")
        each = (time.perf_counter() - began) / TURNS
    print(json.dumps({"seen": seen, "frames_per_s": seen / firehose, "turn_s": each}))


asyncio.run(main())
