"""An agent that searches by itself: ``python examples/agent_tool.py "a question" --url http://localhost:11434/v1``.

Without a language model the tool is called once, with the question, and what an agent would read is printed.
"""

from __future__ import annotations

import json

from answering import arguments, chat, index_folder

given = arguments("Let an agent search in a folder of files.")
with index_folder(given) as retriever:
    tool = retriever.as_tool("search_harbour", "What the harbour office knows: fees, berths, ferries.", k=3)
    described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    if given.url is None:
        print(json.dumps(described, indent=2), tool(given.question), sep="\n\n")
    messages = [{"role": "user", "content": f"{given.question} Cite sources as [file, place]."}]
    while given.url is not None:
        message = chat(given, messages, [{"type": "function", "function": described}])
        messages.append(message)
        if not message.get("tool_calls"):
            print(message["content"])
            break
        for call in message["tool_calls"]:
            found = tool(**json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": found})
