"""Everybody says 'show the living room' to the hub in front of them, while answers are late.

An assistant that gets no answer asks again. Suspect: what remembers that it was asked before, and not by whom.
"""

from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, motifs


class SummonedByVoice(Household):
    homes = ("ada", "grace", "lin")
    motifs = motifs.VOICE
    cases = 6

    @rule(home=any_home)
    def owner_says_which_camera(self, home):
        self.say(home)

    @rule(home=any_home)
    def owner_taps(self, home):
        self.ask(home)

    @rule(link=any_link)
    def conditions_clear(self, link):
        self.clear(link)


TestSummonedByVoice = SummonedByVoice.TestCase
