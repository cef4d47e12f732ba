"""Brings the workers of a run together before any of them starts TensorFlow's server."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from aad_tf.cluster.calling import Call
from aad_tf.cluster.cards import Card, full_card
from aad_tf.cluster.chief import ChiefControl
from aad_tf.cluster.control import Control
from aad_tf.cluster.description import Cluster, ClusterError
from aad_tf.cluster.door import Door, open_port
from aad_tf.cluster.gathering import Gathering
from aad_tf.cluster.member import MemberControl
from aad_tf.cluster.messages import LINE_LIMIT, Switchboard, encode

_HELLO_ROOM = 1024


def join(
    cluster: Cluster,
    card: Card,
    *,
    join_timeout: float = 300.0,
    lost_after: float = 60.0,
    on_lost: Callable[[str], None] | None = None,
    advice: Mapping[str, str] | None = None,
) -> Control:
    """Waits until every worker is there and shows the same card.

    The workers connect to the chief, worker 0, at the port AAD_TF_CONTROL_PORT or else the
    chief's own port + 1000, and stay connected while they train. Nothing is authenticated: keep
    that port on a private network.

    Args:
        cluster: the workers and this process's place among them.
        card: what must be the same on every worker, text by name, e.g. a digest of the config and
            the version of TensorFlow. The list of workers is compared in any case.
        join_timeout: seconds to wait for the others. A worker that has reached the chief waits as
            long as the chief does.
        lost_after: seconds of silence after which a worker counts as lost; the chief's value
            holds for all. A worker whose process ends is noticed at once.
        on_lost: called once, in another thread, with the message when a worker is lost.
        advice: what to do about a field of the card that differs, a sentence by field.

    Returns:
        The control to watch the others with; for a single worker one that does nothing.

    Raises:
        AbsentWorkerError: workers are absent or cannot be reached, for which starting all of
            them again may help.
        ClusterError: workers differ, or an index is taken twice; the same message on every
            worker that is there.
        TypeError: the card is not flat, text to text.
    """
    shown = _checked(cluster, card, join_timeout=join_timeout, lost_after=lost_after)
    if cluster.size == 1:
        return Control(cluster)
    board = Switchboard(open_port(cluster) if cluster.is_chief else None)
    control: ChiefControl | MemberControl
    try:
        if cluster.is_chief:
            door = Door(board)
            gathering = Gathering(cluster, shown, advice or {}, board, door, float(lost_after))
            links = gathering.gather(join_timeout)
            control = ChiefControl(cluster, links, board, door, lost_after, on_lost)
        else:
            call = Call(cluster, shown, board, lost_after)
            link = call.join(join_timeout)
            control = MemberControl(cluster, link, board, call.lost_after, on_lost)
    except BaseException:
        board.close()
        raise
    control.start()
    return control


def _checked(cluster: Cluster, card: Card, **times: float) -> dict[str, str]:
    """The card as it is shown, if it and the times can be used."""
    for name, seconds in times.items():
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"{name} must be a positive number of seconds, got {seconds}.")
    shown = full_card(cluster, card)
    if len(encode("hello", card=shown)) > LINE_LIMIT - _HELLO_ROOM:
        raise ClusterError("The card is too long to be sent; give digests of long values.")
    return shown
