"""Everybody wants to see their living room at once, some tap away too early, and the relay is restarted meanwhile.

Suspect: an answer that nobody waits for any more reaches the next owner in line.
"""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, conditions


class AnImpatientEvening(Household):
    homes = ("ada", "grace", "lin")

    @rule(homes=st.lists(any_home, min_size=2, max_size=3, unique=True))
    def several_owners_ask_at_once(self, homes):
        self.ask_together(*homes)

    @rule(home=any_home, after_ms=st.sampled_from([20, 60, 150, 350]))
    def an_owner_taps_away_too_early(self, home, after_ms):
        self.give_up(home, after_ms=after_ms)

    @rule(
        homes=st.permutations(["ada", "grace", "lin"]),
        ms=st.sampled_from([75, 200]),
        after_ms=st.sampled_from([20, 60]),
    )
    def an_owner_taps_away_while_the_registry_is_slow_and_another_asks(self, homes, ms, after_ms):
        self.clear()
        self.set_conditions("relay.cache", conditions.of(conditions.toxic("latency", way="down", latency=ms)))
        self.give_up(homes[0], after_ms=after_ms)
        self.ask(homes[1])

    @rule(home=any_home)
    def an_owner_watches_live(self, home):
        self.ask(home, feed="stream")

    @rule(home=any_home, owner=any_home)
    def a_guest_signs_in_on_the_hub(self, home, owner):
        self.change_account(home, owner=owner)

    @rule(link=any_link, under=conditions.poor())
    def conditions_turn(self, link, under):
        self.set_conditions(link, under)

    @rule(node=st.sampled_from(["relay", "cache"]))
    def a_node_is_restarted(self, node):
        self.restart(node)


TestAnImpatientEvening = AnImpatientEvening.TestCase
