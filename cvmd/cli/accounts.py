"""`cvmd accounts`: where certificates are made, as whom, and what that needs."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from cvmd import config
from cvmd.cli import arguments as argument
from cvmd.cli.checks import print_checks
from cvmd.cli.common import Exit, Refused, Subparsers, add_json, add_noun, add_verb
from cvmd.cli.database import admin_store
from cvmd.cli.output import print_json, print_table
from cvmd.config import Config
from cvmd.errors import ConfigError
from cvmd.issuer import permissions
from cvmd.issuer.roots import AUTO, SHIPPED, root_ca
from cvmd.store.accounts import AccountRecord, AccountRules


def add_to(nouns: Subparsers) -> None:
    """The verbs `add`, `set`, `list`, `test` and `policy`."""
    verbs = add_noun(nouns, "accounts", "AWS accounts and regions: where certificates are made, and as whom")
    add = add_verb(verbs, "add", _add, "make an account; what is not named is as [aws] in the configuration says")
    add.add_argument("name", type=argument.name)
    _add_rules(add)
    change = add_verb(verbs, "set", _set, "change an account; what is not named stays. All nodes go by it at once")
    change.add_argument("name", type=argument.name)
    _add_rules(change)
    change.add_argument("--yes", action="store_true", help="also where certificates would be left behind")
    add_json(add_verb(verbs, "list", _list, "list all accounts"))
    test = add_verb(
        verbs,
        "test",
        _test,
        "ask AWS whether an account is as cvmd needs it; changes nothing. Exit code 1 if a line failed",
    )
    test.add_argument("name", nargs="*", type=argument.name, help="of these (all)")
    add_json(test)
    policy = add_verb(verbs, "policy", _policy, "print the IAM policy that cvmd needs, as JSON")
    policy.add_argument("name", nargs="?", type=argument.name, help="for this account: its partition, region, role")
    policy.add_argument("--partition", type=argument.partition, help="aws, aws-cn, aws-us-gov (the account's, or aws)")
    which = policy.add_mutually_exclusive_group()
    which.add_argument("--caller", action="store_true", help="instead, what the identity needs that assumes the role")
    which.add_argument(
        "--trust", type=argument.principal_arn, metavar="ARN", help="instead, the role's trust in the identity ARN"
    )


def _add_rules(verb: argparse.ArgumentParser) -> None:
    """An option a rule. One that is not given is not in the namespace: `add` has defaults, `set` what is there."""

    def rule(option: str, parse: Any, metavar: str, about: str) -> None:  # noqa: ANN401  # what argparse takes
        verb.add_argument(option, type=parse, metavar=metavar, default=argparse.SUPPRESS, help=about)

    rule("--partition", argument.or_none(argument.partition), "NAME", "of a region that is too new to be known")
    rule("--region", argument.or_none(argument.region), "REGION", "such as eu-central-1; none: that of [aws]")
    rule("--profile", argument.or_none(argument.name), "NAME", "of AWS's configuration file; none: that of [aws]")
    rule("--role-arn", argument.or_none(argument.role_arn), "ARN", "assumed for every call; none: no role")
    rule("--external-id", argument.or_none(argument.external_id), "ID", "that the role's trust policy asks for")
    rule(
        "--endpoint-url",
        argument.or_none(argument.endpoint_url),
        "URL",
        "of the control plane, in a private network",
    )
    rule("--sts-endpoint-url", argument.or_none(argument.endpoint_url), "URL", "where the role is assumed")
    rule("--data-endpoint", argument.or_none(argument.host), "HOST", "MQTT host for devices; none: AWS IoT is asked")
    rule(
        "--root-ca", argument.or_none(_root_ca), "CA", f"{', '.join((AUTO, *SHIPPED))}, or a file; none: that of [aws]"
    )
    rule("--creates-per-s", int, "N", "new certificates a second, of all nodes together (10)")
    verb.add_argument(
        "--exclusive", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS,
        help="nobody but cvmd makes certificates there: what nobody can attribute is cvmd's to delete",
    )  # fmt: skip


def _root_ca(text: str) -> str:
    """A file by its whole path: the daemon does not stand where the operator does."""
    return text if text in (AUTO, *SHIPPED) else str(Path(text).absolute())


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    named = vars(arguments)
    return {rule.name: named[rule.name] for rule in fields(AccountRules) if rule.name in named}


def _add(arguments: argparse.Namespace) -> Exit:
    settings = config.load(arguments.config)
    rules = AccountRules(**_given(arguments))
    _check(rules, settings)
    with admin_store(settings) as store:
        store.add_account(arguments.name, rules)
    return Exit.DONE


def _set(arguments: argparse.Namespace) -> Exit:
    settings = config.load(arguments.config)
    with admin_store(settings) as store:
        known = store.show_account(arguments.name)
        rules = replace(known.rules, **_given(arguments))
        _check(rules, settings)
        moved = _place(rules, settings) != _place(known.rules, settings)
        if moved and (known.certificates or known.in_doubt) and not arguments.yes:
            left = f"{known.certificates} certificates"
            if known.in_doubt:
                left += f", and perhaps what {known.in_doubt} attempts without an outcome have left,"
            raise Refused(
                f"account {arguments.name} has {left} at AWS, and this leads to another place: make another account for"
                " that one, or add --yes if the certificates are there"
            )
        endpoint = known.rules.data_endpoint
        if moved and endpoint and "data_endpoint" not in vars(arguments):
            rules = replace(rules, data_endpoint=None)
            print(f"cvmd: AWS IoT is asked anew for the endpoint, which was {endpoint}", file=sys.stderr)
        store.set_account(arguments.name, rules)
    return Exit.DONE


def _place(rules: AccountRules, settings: Config) -> tuple[str | None, ...]:
    """Where its certificates are: another region, or other credentials, and AWS has other ones there."""
    aws = settings.aws
    role = permissions.ROLE_ARN.fullmatch(rules.role_arn or "")
    of_whom = role["account"] if role else rules.profile or aws.profile
    return rules.region or aws.region, rules.endpoint_url or aws.endpoint_url, of_whom


def _check(rules: AccountRules, settings: Config) -> None:
    """Raises ConfigError where the rules contradict each other, or name a root CA that cannot be used."""
    partition = _partition(rules, settings)
    role = permissions.ROLE_ARN.fullmatch(rules.role_arn or "")
    if role and partition and role["partition"] != partition:
        raise ConfigError(f"the role is of partition {role['partition']}, the region of {partition}: no role crosses")
    if rules.root_ca is not None:
        root_ca(rules.root_ca, region=rules.region or settings.aws.region)


def _partition(rules: AccountRules, settings: Config) -> str | None:
    """That of the account; None where neither it nor the configuration has a region."""
    region = rules.region or settings.aws.region
    if rules.partition is not None or not region:
        return rules.partition
    return permissions.partition_of(region)


def _list(arguments: argparse.Namespace) -> Exit:
    with admin_store(config.load(arguments.config)) as store:
        found = [_document(record) for record in store.list_accounts()]
    if arguments.json:
        print_json(found)
    else:
        columns = ["name", "region", "role_arn", "data_endpoint", "creates_per_s", "products", "certificates"]
        print_table(columns, [[document[column] for column in columns] for document in found])
    return Exit.DONE


def _document(record: AccountRecord) -> dict[str, object]:
    """An account as JSON has it; null: as [aws] says."""
    counted = {"products": record.products, "certificates": record.certificates}
    return {"name": record.account.name, **asdict(record.rules), **counted}


def _test(arguments: argparse.Namespace) -> Exit:
    # Only here: boto3 would double the time of every other command.
    from cvmd.aws import account_checks

    settings = config.load(arguments.config)
    with admin_store(settings) as store:
        known = [store.show_account(name) for name in arguments.name] or store.list_accounts()
    look = account_checks(settings)
    sections = ((f"account {it.account.name}", look(it.account)) for it in known)
    return print_checks(sections, as_json=arguments.json)


def _policy(arguments: argparse.Namespace) -> Exit:
    print_json(_policy_of(arguments))
    return Exit.DONE


def _policy_of(arguments: argparse.Namespace) -> permissions.Document:
    if arguments.name is None:
        if arguments.caller or arguments.trust:
            raise ConfigError("--caller and --trust are of an account that has a role: name it")
        return permissions.iam_policy(arguments.partition or "aws")
    settings = config.load(arguments.config)
    with admin_store(settings) as store:
        rules = store.show_account(arguments.name).rules
    if arguments.trust:
        return permissions.trust_policy(arguments.trust, rules.external_id)
    if arguments.caller:
        if rules.role_arn is None:
            raise Refused(f"account {arguments.name} has no role: its own credentials need the policy without --caller")
        return permissions.caller_policy(rules.role_arn)
    partition = arguments.partition or _partition(rules, settings)
    if partition is None:
        raise ConfigError(f"account {arguments.name} has no region, nor has [aws]: say --partition")
    role = permissions.ROLE_ARN.fullmatch(rules.role_arn or "")
    return permissions.iam_policy(
        partition,
        region=rules.region or settings.aws.region or permissions.ANY,
        account=role["account"] if role else permissions.ANY,
    )
