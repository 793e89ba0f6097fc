"""Everybody has a nursery, and says 'show the nursery' or 'show the living room' while answers are late.

An assistant that gets no answer asks again. Suspect: what remembers that it was asked before, and not by whom.
"""

from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, any_room, motifs


class SummonedByVoice(Household):
    homes = ("ada", "grace", "lin")
    rooms = ("nursery",)
    motifs = motifs.VOICE
    cases = 6

    @rule(home=any_home, room=any_room)
    def owner_says_which_camera(self, home, room):
        self.say(home, camera=room)

    @rule(home=any_home, room=any_room)
    def owner_taps(self, home, room):
        self.ask(home, camera=room)

    @rule(link=any_link)
    def conditions_clear(self, link):
        self.clear(link)


TestSummonedByVoice = SummonedByVoice.TestCase
