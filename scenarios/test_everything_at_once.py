"""An evening on which everything happens: nodes restart, accounts change, the cache evicts, an update rolls out.

Suspect: what two versions, two owners or two moments share and only one of them was written for.
"""

from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, any_node_fault, conditions, motifs


class EverythingAtOnce(Household):
    homes = ("ada", "grace", "lin")
    motifs = motifs.ALL

    @rule(home=any_home)
    def owner_asks_for_the_camera(self, home):
        self.ask(home)

    @rule(link=any_link, under=conditions.poor())
    def conditions_turn(self, link, under):
        self.set_conditions(link, under)

    @rule(fault=any_node_fault)
    def a_node_is_in_trouble(self, fault):
        self.add(fault)


TestEverythingAtOnce = EverythingAtOnce.TestCase
