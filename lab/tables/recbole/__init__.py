"""Are our networks what others know by these names? RecBole's versions beside ours.

    make recbole-check

RecBole 1.2.1 is not maintained and works with old versions of its libraries only, so it is never
installed beside the product: the target makes an environment of its own, `.venv-recbole`, with
torch from pip, and the rest pinned by hash in `requirements.lock`. Two more concessions to its age:
numpy before 2, pandas before 3 and setuptools before 81, and `torch.load` told to read its
checkpoints (`theirs.py`).

`material` writes a small data set in both shapes: users of the generated shop, their 16 newest
items. `pairs` says what both are trained with: the same width, layers, dropout, rate, loss, batch
and epochs. `theirs` is the only module that runs in RecBole's environment. `comparison` trains
both, has both score the same questions of 50 candidates, and compares them by user. What was done
is kept in `build/recbole`; a second call goes on, and at the end only tells.

What differs by design and is left so: RecBole makes a training line of every item with all before
it, we learn from every place of a sequence at once; ours scores an item with a bias beside its
vector; HGN has another vector of an item there where it is expected; attention is normalized behind
and not before; RecBole keeps the epoch that is best against the whole catalog, we the one that is
best on candidates files; it draws its first weights otherwise.

`make lock` writes `requirements.lock` anew, from `requirements.in`.
"""
