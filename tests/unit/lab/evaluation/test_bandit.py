from __future__ import annotations

import numpy as np

from lab.evaluation.bandit import LinUcb


def test_the_arm_is_picked_that_serves_such_users() -> None:
    rng = np.random.default_rng(0)
    contexts, rewards = {}, {}
    for user in range(200):
        late = float(user % 2)
        contexts[f"u{user}"] = np.array([1.0, late])
        noise = rng.normal(0, 0.05, 3)
        rewards[f"u{user}"] = [0.0, *(np.array([late, 1 - late, 0.3]) + noise).tolist()]
    bandit = LinUcb(4, 2)
    bandit.learn(contexts, rewards)
    assert bandit.best(np.array([1.0, 1.0])) == 1
    assert bandit.best(np.array([1.0, 0.0])) == 2


def test_where_nothing_helps_nothing_is_said() -> None:
    contexts = {f"u{user}": np.array([1.0]) for user in range(50)}
    bandit = LinUcb(3, 1)
    bandit.learn(contexts, {user: [0.0, -0.2, -0.1] for user in contexts})
    assert bandit.best(np.array([1.0])) == 0


def test_it_learns_the_same_every_time() -> None:
    rng = np.random.default_rng(1)
    contexts = {f"u{user}": rng.normal(size=3) for user in range(30)}
    rewards = {user: rng.normal(size=4).tolist() for user in contexts}
    picks = []
    for _ in range(2):
        bandit = LinUcb(4, 3)
        bandit.learn(contexts, rewards)
        picks.append([bandit.best(context) for context in contexts.values()])
    assert picks[0] == picks[1]
