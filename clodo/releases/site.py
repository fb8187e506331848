"""Where releases happen: one workspace, its ledger, and the accounts that its environments are served by."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from clodo.cloudflare.breaker import Breakers
from clodo.cloudflare.budget import Budget, Lane, UnlimitedBudget
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.cloudflare.wire import ANSWERS_WITHIN
from clodo.errors import AmbiguousName, BadConfiguration, DatabaseNotFound, NamespaceNotFound
from clodo.ledger import fingerprints
from clodo.logs import register_secret
from clodo.releases.interruption import Interruption
from clodo.releases.smoke import Edge, SmokeTester, Tail
from clodo.workspace.builds import Builder, plan_steps
from clodo.workspace.file_digests import FileDigests

if TYPE_CHECKING:
    from clodo.cloudflare.zones import Zone
    from clodo.ledger import Ledger
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace
    from clodo.wrangler.commands import Wrangler
    from clodo.wrangler.toolchain import Toolchain

# Cloudflare's edge may go on serving the version before for some seconds after it reported a deployment.
PROPAGATION = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """
    What a `CloudflareAccount` block gives.

    Attributes:
        account_id: 32 hex digits.

        edge_url: Where Workers' hostnames are reached instead of by DNS; the embedded cloud's.
    """

    account_id: str
    token: str = field(repr=False)
    base_url: str
    edge_url: str | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether this is an embedded cloud's account."""
        return self.edge_url is not None

    @property
    def user_key(self) -> str:
        """Tells tokens apart in the request budget without being one."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:16]


class Account:
    """One account as releases use it: client, gateway and wrangler, smoke tests, and what all its targets share."""

    def __init__(self, keys: AccountKeys, site: Site) -> None:
        self.keys = keys
        self._site = site
        self._lock = threading.RLock()
        self._exits = ExitStack()
        # The embedded cloud sets no limit unless it is told to, and then says so with 429s.
        budget: Budget = UnlimitedBudget() if keys.is_embedded else site.ledger.budget(keys.user_key)
        self._budget = budget
        self.cloudflare = self._exits.enter_context(
            Cloudflare(
                keys.account_id,
                keys.token,
                keys.base_url,
                budget=budget,
                lane=Lane.RELEASE,
                clock=site.clock,
                breakers=site.breakers,
                answers_within=site.answers_within,
            )
        )
        self._edge = Edge(keys.edge_url)
        self._exits.callback(self._edge.close)
        self._wrangler: Wrangler | None = None
        self._zones: tuple[Zone, ...] | None = None
        self._subdomain: str | None = None
        self._knows_subdomain = False
        self._databases: list[tuple[str, str]] | None = None
        self._namespaces: dict[str, str] | None = None

    @property
    def wrangler(self) -> Wrangler:
        """The real wrangler behind this account's gateway; started, and imported, when first asked for."""
        from clodo.wrangler.commands import Wrangler
        from clodo.wrangler.gateway import Gateway

        with self._lock:
            if self._wrangler is None:
                gateway = self._exits.enter_context(
                    Gateway(
                        self.keys.base_url,
                        self.keys.token,
                        budget=self._budget,
                        clock=self._site.clock,
                        upstream_timeout=2 * self._site.answers_within,
                    )
                )
                scratch = self._site.workspace.state_dir / "scratch"
                self._wrangler = Wrangler(self._site.toolchain, gateway, scratch=scratch, log=self._site.tool_log)
            return self._wrangler

    @property
    def zones(self) -> tuple[Zone, ...]:
        """The zones of the account, read once."""
        with self._lock:
            if self._zones is None:
                self._zones = tuple(self.cloudflare.zones.list())
            return self._zones

    @property
    def subdomain(self) -> str | None:
        """``<this>.workers.dev``, read once; None when the account has none."""
        with self._lock:
            if not self._knows_subdomain:
                self._subdomain = self.cloudflare.subdomains.account()
                self._knows_subdomain = True
            return self._subdomain

    def databases(self, name: str) -> str:
        """
        Return the UUID of the D1 database called exactly *name*; the account's list is read once.

        Raises:
            DatabaseNotFound: The account has none of that name.

            AmbiguousName: It has several.
        """
        with self._lock:
            if self._databases is None:
                self._databases = [(item.name, item.uuid) for item in self.cloudflare.d1.list()]
            found = [uuid for known, uuid in self._databases if known == name]
        if not found:
            raise DatabaseNotFound(
                f'the account has no D1 database called "{name}"',
                hint="Make it with `clodo database create`, or give the binding a database_id.",
            )
        if len(found) > 1:
            raise AmbiguousName(f'the account has {len(found)} D1 databases called "{name}"', hint="Give the id.")
        return found[0]

    def namespaces(self, title: str) -> str:
        """
        Return the id of the KV namespace titled exactly *title*; the account's list is read once.

        Raises:
            NamespaceNotFound: The account has none of that title.
        """
        with self._lock:
            if self._namespaces is None:
                self._namespaces = {item.title: item.id for item in self.cloudflare.kv.list()}
            if title not in self._namespaces:
                raise NamespaceNotFound(
                    f'the account has no KV namespace titled "{title}"',
                    hint="Create it with `wrangler kv namespace create`, or give the binding an id.",
                )
            return self._namespaces[title]

    def tester(self, worker: str, *, lane: Lane = Lane.RELEASE) -> SmokeTester:
        """Return what smoke-tests *worker*."""
        tails = self.cloudflare.with_lane(lane).tails
        clock = self._site.clock
        sleep = self._site.interruption.sleeping(clock.sleep, undoing=lane is Lane.UNDO)

        def open_tail(probe: str) -> AbstractContextManager[Tail]:
            only_ours: Mapping[str, object] = {"header": {"key": "x-clodo-probe", "query": probe}}
            return tails.stream(worker, filters=[only_ours])

        return SmokeTester(self._edge, open_tail, patience=self._site.propagation, sleep=sleep, clock=clock.monotonic)

    def close(self) -> None:
        """Stop the gateway and close the connections."""
        self._exits.close()


class Site:
    """
    Everything that releases of one workspace have in common; use it as a context manager.

    Args:
        ledger: Closed with the site.

        accounts: Block name to keys; asked once a block.

        secrets: Target to names and values.

        toolchain: Asked when wrangler is first needed, since an unchanged fleet needs none.

        actor: Who does this, for ledger and audit trail.

        tool_environment: Variables that install and build commands may see; the dangerous ones are taken out.

        log: Gets lines for a person, secrets already taken out; called from several threads.

        tool_log: Gets what wrangler, installs and builds print, in the same way; goes to *log* by default.

        propagation: How long an old answer is taken for propagation.

        clock: Time and chance of everything that waits.

        breakers: Circuit breakers by host; by default those of this process.

        answers_within: After so long without an answer a request is given up; an upload has twice as long.
    """

    def __init__(
        self,
        workspace: Workspace,
        ledger: Ledger,
        *,
        accounts: Callable[[str], AccountKeys],
        secrets: Callable[[Target], Mapping[str, str]],
        toolchain: Callable[[], Toolchain],
        actor: str,
        tool_environment: Mapping[str, str],
        log: Callable[[str], None] = lambda line: None,
        tool_log: Callable[[str], None] | None = None,
        interruption: Interruption | None = None,
        propagation: timedelta = PROPAGATION,
        clock: Clock = SYSTEM_CLOCK,
        breakers: Breakers | None = None,
        answers_within: timedelta = ANSWERS_WITHIN,
    ) -> None:
        self.workspace = workspace
        self.ledger = ledger
        self.actor = actor
        self.log = log
        self.tool_log = tool_log or log
        self.interruption = interruption or Interruption()
        self.propagation = propagation
        # Also an undo waits, for minutes when Cloudflare asks for it; somebody may want an end even then.
        self.clock = replace(clock, sleep=self.interruption.sleeping(clock.sleep, undoing=True))
        self.breakers = breakers
        self.answers_within = answers_within
        self._tool_environment = tool_environment
        self._keys_of = accounts
        self._secrets_of = secrets
        self._find_toolchain = toolchain
        self._toolchain: Toolchain | None = None
        self._fingerprint_key: bytes | None = None
        self._accounts: dict[str, Account] = {}
        self.digests = FileDigests(workspace.state_dir / "digests.sqlite3")
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Site {self.workspace.root}>"

    @property
    def toolchain(self) -> Toolchain:
        """The pinned node, wrangler and workerd."""
        with self._lock:
            if self._toolchain is None:
                self._toolchain = self._find_toolchain()
            return self._toolchain

    def account_of(self, target: Target) -> Account:
        """Return the account that serves *target*."""
        return self._account(self.workspace.portfolio.account_block_of(target))

    def account_with(self, account_id: str, environment: str) -> Account:
        """
        Return the account *account_id*, whatever the workspace says by now of the target that was released there.

        Args:
            environment: Whose account it was; asked first.

        Raises:
            BadConfiguration: No environment of the portfolio is served by it any more.
        """
        environments = self.workspace.portfolio.environments
        for name in sorted(environments, key=lambda name: name != environment):
            account = self._account(environments[name].account)
            if account.keys.account_id == account_id:
                return account
        raise BadConfiguration(
            f"no environment of this workspace is served by the account {account_id} any more",
            hint="Name its block in portfolio.toml again, at least until `clodo reconcile` has put things back.",
        )

    def account_called(self, block: str) -> Account:
        """
        Return the account that the block *block* names, whether an environment is served by it or not.

        Raises:
            BadConfiguration: Nobody saved one.
        """
        return self._account(block)

    def _account(self, block: str) -> Account:
        with self._lock:
            if block not in self._accounts:
                self._accounts[block] = Account(self._keys_of(block), self)
            return self._accounts[block]

    def secrets_of(self, target: Target) -> Mapping[str, str]:
        """Return the secrets of *target*, names and values; from here on no log or message shows them."""
        secrets = self._secrets_of(target)
        for value in secrets.values():
            register_secret(value)
        return secrets

    @property
    def fingerprint_key(self) -> bytes:
        """The workspace's key for fingerprints of secrets."""
        with self._lock:
            if self._fingerprint_key is None:
                self._fingerprint_key = fingerprints.load_key(self.workspace.root)
            return self._fingerprint_key

    def prepare(self, target: Target) -> tuple[str, ...]:
        """
        Install and build what *target*'s service declares or shows, once for the same content.

        Returns:
            The commands, as shell text, whether they ran now or had run before.
        """
        config = self.workspace.effective(target)
        steps = plan_steps(config, self.workspace.portfolio, root=self.workspace.root)
        if steps:
            builder = Builder(
                self.workspace.state_dir,
                root=self.workspace.root,
                tools=self.toolchain,
                environment=self._tool_environment,
                digests=self.digests,
                log=self.tool_log,
            )
            for done in builder.prepare(config, steps):
                if not done.was_cached:
                    self.log(f"{target}: ran {done.step.command} ({done.duration.total_seconds():.1f} s)")
        return tuple(step.command for step in steps)

    def close(self) -> None:
        """Stop the gateways, close the connections and the ledger."""
        with self._lock:
            for account in self._accounts.values():
                account.close()
            self._accounts.clear()
        self.ledger.close()

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
