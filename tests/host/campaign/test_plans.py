"""Campaign files: what is read, and one clear line for everything that is wrong."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from virtual_campaign import virtual_plan

from joulebit.errors import JoulebitError
from joulebit_host.campaign.plan import cells_in_order, check_workloads, workload
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.schema import (
    as_table,
    campaign_from_table,
    campaign_hash,
    load_campaign,
)
from joulebit_host.cli.measure import TEMPLATES, measure

GOOD = """
name = "plan"
repeats = 2
seed = 1
[session]
window_s = 20.0
[session.limits]
largest_gap_share = 0.01
[[methods]]
name = "fixed"
source = "digits-resnet8-fixed"
[[methods]]
name = "short"
source = "digits-resnet8-fixed"
set = ["training.epochs=1"]
[[meters]]
name = "shunt"
spec = "ina226:/dev/ttyUSB0?shunt_ohm=0.02"
[[devices]]
name = "here"
kind = "local"
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_good_plan_is_read_and_kept(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(GOOD)
    campaign = load_campaign(tmp_path / "plan.toml")
    assert campaign.session.window_s == 20
    assert campaign.session.limits.largest_gap_share == 0.01
    assert [m.name for m in campaign.methods] == ["fixed", "short"]
    assert campaign_from_table(as_table(campaign)) == campaign
    check_workloads(campaign)
    one, two = (workload(method, "") for method in campaign.methods)
    assert one.config_hash != two.config_hash
    assert two.config is not None and two.config["training"]["epochs"] == 1
    assert workload(campaign.methods[0], "resnet20").config_hash != one.config_hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("repeats = 2", "repeat = 2"), "unknown key 'repeat' .*did you mean repeats"),
        (changed('name = "plan"\n', ""), "missing key 'name' in the top level"),
        (changed("repeats = 2", 'repeats = "2"'), "repeats must be a whole number, got '2'"),
        (changed("repeats = 2", "repeats = 0"), r"repeats must be in \[1, 10000\], got 0"),
        (changed("repeats = 2", "repeats = true"), "repeats must be a whole number, got True"),
        (changed("seed = 1", "seed = -1"), "seed must be at least 0"),
        (changed("seed = 1", "backoff_s = nan"), "backoff_s must be a finite number"),
        (changed('name = "plan"', 'name = "a/b"'), "name must be letters"),
        (changed("window_s = 20.0", "windov_s = 20.0"), "did you mean window_s"),
        (changed("largest_gap_share = 0.01", "gaps = 1"), "limits: unknown key 'gaps'"),
        (changed('kind = "local"', 'kind = "locl"'), "kind must be one of .*did you mean local"),
        (changed('kind = "local"', 'kind = "virtual"'), "needs the key 'table'"),
        (changed('kind = "local"', 'kind = "command"'), "cannot do method fixed"),
        (changed('source = "digits-resnet8-fixed"\n[[methods]]', "[[methods]]"), "exactly one of .* got none"),
        (changed('set = ["training', 'command = "x"\nset = ["training'), "got source and command"),
        (changed('name = "short"', 'name = "fixed"'), "two entries named 'fixed'"),
        (changed("[[meters]]", "[meters]"), "meters must be a list"),
        (changed('spec = "ina226:/dev/ttyUSB0?shunt_ohm=0.02"\n', ""), r"missing key 'spec' in \[meters.0\]"),
        (changed("repeats = 2", 'models = ["resnet20", "resnet20"]'), "models has an entry twice"),
        (changed("repeats = 2", "methods = 3").replace("[[methods]]", "[[x]]"), "unknown key 'x'|must be a list"),
        (GOOD + "[[[", "is no TOML"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(JoulebitError, match=message) as caught:
        load_campaign(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def checked(**changes: Any) -> None:
    check_workloads(campaign_from_table(virtual_plan(**changes)))


def test_what_cannot_be_used_is_found_before_anything_is_measured() -> None:
    checked()
    with pytest.raises(JoulebitError, match=r"unknown meter 'ina266'.*did you mean"):
        checked(meters=[{"name": "ina", "spec": "ina266"}])
    with pytest.raises(CampaignError, match="one that can be emulated"):
        checked(meters=[{"name": "ina", "spec": "rapl"}])
    with pytest.raises(JoulebitError, match="unknown energy table"):
        checked(devices=[{"name": "bench", "kind": "virtual", "table": "xc7z"}])
    with pytest.raises(JoulebitError, match="unknown fault 'unplgu'"):
        checked(devices=[{"name": "b", "kind": "virtual", "table": "45nm", "faults": ["unplgu@3"]}])
    with pytest.raises(CampaignError, match="whole number >= 0, got -1"):
        checked(methods=[{"name": "m", "counters": {"macs.forward.8x8": -1}}])
    with pytest.raises(JoulebitError, match="unknown method 'n'"):
        checked(devices=[{"name": "b", "kind": "virtual", "table": "45nm", "faults_in": ["n"]}])
    with pytest.raises(JoulebitError, match="preset"):
        checked(methods=[{"name": "m", "source": "digits-resnet9"}])


def test_the_order_is_drawn_from_the_seed_repeat_by_repeat() -> None:
    plan = virtual_plan({f"m{n}": {"macs.forward.8x8": 10**9} for n in range(8)}, repeats=3)
    orders = [[c.key for c in cells_in_order(campaign_from_table({**plan, "seed": seed}))] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == 24
    blocks = [[key.partition(".")[0] for key in orders[0][at : at + 8]] for at in (0, 8, 16)]
    assert all(sorted(block) == [f"m{n}" for n in range(8)] for block in blocks)
    assert blocks[0] != blocks[1]
    assert all(key.endswith("001") for key in orders[0][:8])


def test_the_hash_follows_what_is_measured_not_how_long_one_waits() -> None:
    base = virtual_plan()
    one = campaign_hash(campaign_from_table(base))
    assert campaign_hash(campaign_from_table({**base, "retries": 9, "cooldown_s": 3})) == one
    assert campaign_hash(campaign_from_table({**base, "repeats": 9})) != one
    assert campaign_hash(campaign_from_table({**base, "session": {"idle_s": 20}})) != one


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_templates_are_plans_that_can_be_carried_out(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(measure, ["--template", name])
    assert result.exit_code == 0
    (tmp_path / "plan.toml").write_text(result.stdout)
    check_workloads(load_campaign(tmp_path / "plan.toml"))
    assert CliRunner().invoke(measure, ["--template", name, "--resume"]).exit_code == 2
