"""``python -m tests.chat_server --port 8000`` from the checkout: a chat model to try the command line against."""

import argparse
import threading

from .protocol import MODEL
from .server import ChatServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chat_server", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--key", help="the only API key that it takes")
    chosen = parser.parse_args()
    try:
        server = ChatServer(port=chosen.port).start()
    except OSError as error:
        parser.error(f"port {chosen.port}: {error.strerror}; name another with --port")
    server.can.key = chosen.key
    chat = f"--chat-url {server.url} --chat-model {MODEL}"
    key = "" if chosen.key is None else f"OPENAI_API_KEY={chosen.key} "
    print(f"{key}detailscribe doctor {chat}")
    print(f'{key}detailscribe run "a cat holding a red umbrella" {chat}', flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
