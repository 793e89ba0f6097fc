"""Cameras stand and play on the hubs, conditions turn, and the vendor suspends the integration, or an owner unlinks.

Within 2.5 s no hub may show such a camera any more: not from a cache, not by a stream that plays, and not on a hub that
the network does not reach. Suspect: somebody who remembers that it was allowed.
"""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from chaos import Household, any_home, any_link, conditions
from chaos.verdict import Rules

WORSE = st.sampled_from([conditions.OUTAGE, conditions.BLACK_HOLE]) | conditions.poor()


class TheIntegrationIsSuspended(Household):
    homes = ("ada", "grace", "lin")
    motifs = ()
    cases = 5
    rules_of_age = Rules(minimum_strong_asks=1)  # most of its links are dead; what counts is that a camera was shown
    switched = False

    @precondition(lambda self: not self.switched)  # once: each time is waited for until it must be in effect
    @rule(
        watching=st.permutations(["ada", "grace", "lin"]),
        link=st.just("relay.accounts") | any_link,
        under=WORSE,
        mended=st.booleans(),
        everybody=st.booleans(),
        cameras=st.booleans(),
    )
    def access_ends_while_some_watch(self, watching, link, under, mended, everybody, cameras):
        self.switched = True
        self.clear()
        self.ask(watching[0], feed="stream")
        self.ask(watching[1])
        self.set_conditions(link, under)
        if everybody:
            self.suspend()
        else:
            self.unlink(watching[0])
        if mended:
            self.clear(link)
        self.ask_together("ada", "grace", "lin")
        self.restore(cameras=cameras)
        self.clear()
        self.change_account(watching[0], owner=watching[0])
        self.ask(watching[0])

    @rule(home=any_home)
    def an_owner_watches_live(self, home):
        self.ask(home, feed="stream")

    @rule(link=any_link, under=conditions.poor())
    def conditions_turn(self, link, under):
        self.set_conditions(link, under)


TestTheIntegrationIsSuspended = TheIntegrationIsSuspended.TestCase
