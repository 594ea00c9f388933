"""``python -m tests.canary [--runs N] [--rate R]``: how often good releases are blamed, and how soon bad ones."""

import argparse
import time

from tests.canary.runs import Score, score
from tests.canary.situations import BAD, GOOD

from vesemir.domain.analysis import AnalysisRules


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.canary", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="simulated deployments in each situation (200)")
    parser.add_argument("--rate", type=float, default=0.05, help="the false-alarm rate that is set (0.05)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run (0)")
    arguments = parser.parse_args()
    rules, begun = AnalysisRules(false_alarm_rate=arguments.rate), time.monotonic()
    allowed = int(arguments.runs * arguments.rate)

    print(f"{arguments.runs} deployments each, false-alarm rate {arguments.rate:g}: at most {allowed} may be blamed")
    good = [_reported(score(each, arguments.runs, first_seed=arguments.seed, rules=rules)) for each in GOOD]
    worst = max(each.blamed for each in good)
    print(f"\nBad releases, with max_error_ratio 1 % and a false-alarm rate of {AnalysisRules().false_alarm_rate:g}")
    bad = [_reported(score(each, arguments.runs, first_seed=arguments.seed, rules=AnalysisRules())) for each in BAD]
    caught = min(each.blamed for each in bad) / arguments.runs
    print(f"\n{bad[0].outcomes[0].report}")
    print(f"good ones blamed: {worst} of {arguments.runs} at worst, {allowed} allowed")
    print(f"bad ones caught: {100 * caught:g} % at worst")
    kept = worst <= allowed and caught >= 0.95
    print(f"{'ok' if kept else 'BROKEN'} after {time.monotonic() - begun:.0f} s")
    return 0 if kept else 1


def _reported(seen: Score) -> Score:
    soon = f", after {seen.median_seconds:.0f} s (median)" if seen.blamed else ""
    print(f"  {seen.situation.name:<42} {seen.blamed:4} of {len(seen.outcomes)} blamed{soon}", flush=True)
    return seen


if __name__ == "__main__":
    raise SystemExit(main())
