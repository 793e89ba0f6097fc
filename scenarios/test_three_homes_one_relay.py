"""Ada, Grace and Lin watch while conditions change on any link around the relay they share.

Suspect: the relay answers one owner's request from another owner's cache slot.
"""

from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, conditions


class ThreeHomesOneRelay(Household):
    homes = ("ada", "grace", "lin")

    @rule(home=any_home)
    def owner_asks_for_the_camera(self, home):
        self.ask(home)

    @rule(link=any_link, under=conditions.poor())
    def conditions_turn(self, link, under):
        self.set_conditions(link, under)

    @rule(link=any_link)
    def conditions_clear(self, link):
        self.clear(link)


TestThreeHomesOneRelay = ThreeHomesOneRelay.TestCase
