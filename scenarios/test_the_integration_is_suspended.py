"""Cameras stand and play on every hub, conditions turn, and the vendor suspends the integration.

Within 2.5 s no hub may show a camera any more: not from a cache, not by a stream that plays, and not on a hub that the
network does not reach. Suspect: somebody who remembers that it was allowed.
"""

from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, motifs


class TheIntegrationIsSuspended(Household):
    homes = ("ada", "grace", "lin")
    motifs = motifs.VENDOR
    cases = 4  # each waits until the suspension must be in effect

    @rule(home=any_home)
    def an_owner_watches_live(self, home):
        self.ask(home, feed="stream")

    @rule(link=any_link)
    def conditions_clear(self, link):
        self.clear(link)


TestTheIntegrationIsSuspended = TheIntegrationIsSuspended.TestCase
