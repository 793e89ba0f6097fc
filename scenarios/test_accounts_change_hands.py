"""A camera is sold, or shared for an evening, or a password is known to somebody else, while conditions turn.

The seller must not see the buyer's home, nor the buyer the seller's: not from a cache, and not by a stream that plays.
Who was invited sees the camera until she is no more; who has an old password, or lacks the second factor, never.
Suspect: what remembers whose a device was, or that somebody was let in.
"""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from chaos import Household, any_home, conditions, shared
from chaos.verdict import Rules

SLIGHTLY = conditions.of(conditions.toxic("latency", latency=75))
WORSE = st.sampled_from([conditions.OUTAGE, conditions.BLACK_HOLE]) | conditions.poor()


class AccountsChangeHands(Household):
    homes = ("ada", "grace", "lin")
    motifs = ()
    cases = 4
    rules_of_age = Rules(minimum_strong_asks=1)  # many of its asks must show nothing; what counts is who was shown what
    changed = False

    @precondition(lambda self: not self.changed)  # one story a case: each waits until what ended must be in effect
    @rule(
        who=st.permutations(["ada", "grace", "lin"]),
        story=st.sampled_from(["sold", "sold", "shared", "known"]),
        where=st.sampled_from(["camera", "camera", "accounts"]),
        under=WORSE,
        before=st.booleans(),
    )
    def something_changes_hands(self, who, story, where, under, before):
        self.changed = True
        owner, other, third = who
        link = f"{owner}.camera" if where == "camera" else "relay.accounts"
        self.clear()
        self.set_conditions(f"{third}.hub", SLIGHTLY)
        self.ask(third)
        if story == "sold":
            self.ask(owner)
            self.ask(owner, feed="stream")
            turns = [lambda: self.set_conditions(link, under), lambda: self.sell(owner, to=other)]
            for turn in turns if before else reversed(turns):
                turn()
            self.ask_together(owner, other, third)
            self.clear()
            self.ask(other)
        elif story == "shared":
            self.share(owner, guest=other)
            self.ask(other, camera=shared(owner), feed="stream")
            self.set_conditions(link, under)
            self.unshare(owner, guest=other)
            self.ask(other, camera=shared(owner))
            self.clear()
        else:
            if before:
                self.protect(owner)
            self.change_account(other, owner=owner)
            self.ask(other, feed="stream")
            self.reset_password(owner)
            self.set_conditions(link, under)
            self.change_account(other, owner=owner)
            self.ask_together(owner, other, third)
            self.clear()
            for home in (owner, other):
                self.change_account(home, owner=home)

    @rule(home=any_home)
    def an_owner_asks(self, home):
        self.ask(home)

    @rule(home=any_home, where=st.sampled_from(["camera", "hub"]), under=conditions.poor())
    def conditions_turn(self, home, where, under):
        self.set_conditions(f"{home}.{where}", under)


TestAccountsChangeHands = AccountsChangeHands.TestCase
