"""The embedded cloud as something that starts and stops, in this process or as one of its own."""

from __future__ import annotations

from types import TracebackType

from clodo.emulator.config import AccountKeys, CloudConfig


class EmbeddedCloud:
    """
    A Cloudflare on this machine, served from a thread of this process.

    Args:
        config: Where its data is and where it listens.

    Attributes:
        url: Root of the API, ``http://127.0.0.1:PORT/client/v4``.

        edge_url: Root that stands for every Worker's hostname: connect here, name the Worker in ``Host``.

        account: Keys of the first account.

        admin_token: Bearer token of the ``/__clodo/…`` endpoints.
    """

    url: str
    edge_url: str
    account: AccountKeys
    admin_token: str

    def __init__(self, config: CloudConfig) -> None:
        self.config = config

    def start(self) -> EmbeddedCloud:
        """
        Listen and return when the API answers.

        Raises:
            PortInUse: Another process listens there.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """End the server and every Worker's process; safe to repeat."""
        raise NotImplementedError

    def new_account(self, *, zone: str | None = None) -> AccountKeys:
        """Make an account of its own: fresh id, token, subdomain and zone (``<random>.example`` by default)."""
        raise NotImplementedError

    def __enter__(self) -> EmbeddedCloud:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
