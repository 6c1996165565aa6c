"""Every rule of the policies that ship, with its meaning; documentation and report read it here."""

STOPS = {
    "all_pass": "Every check passes on this image.",
    "another_passes": "Every check passes on another image, so the run is over.",
    "nothing_failed": "Some checks are unknown, none failed: there is nothing to correct.",
    "not_heard": "The critic gave no usable answer about this image, so nothing is decided on it.",
    "best_of_n": "This is the best of the seeds, and the policy refines nothing.",
    "not_the_best": "Another image of the round is better, and only the best one counts.",
    "outranked": "More promising images take all the places that there are.",
    "halved_out": "As a preview it was among the worse part of its round.",
    "refined_once": "The policy refines once, and this image is the refinement.",
    "rounds_done": "Its drawing was refined as often as the policy allows.",
    "plateau": "Several refinements in a row gained nothing.",
    "regression": "Several refinements in a row each made it worse.",
    "oscillation": "A refinement undid what the one before had changed.",
    "not_worth_it": "No attempt promises enough for its cost.",
    "advised_stop": "The chat model said so.",
    "no_advice": "The chat model said nothing usable about this image, and nothing is made up for it.",
    "by_lot_stop": "The control policy drew a lot.",
    "repeated_attempt": "The policy asked for what was tried before: the same image would come of it.",
    "budget_rounds": "The budget has no round left.",
    "budget_images": "The budget has no image left.",
    "budget_evaluations": "The budget has too few denoiser evaluations left.",
    "budget_critic_calls": "The budget has no critic call left.",
    "budget_tokens": "The budget has too few tokens left, at the rate of the run so far.",
    "budget_seconds": "The budget has too few seconds left, at the rate of the run so far.",
    "budget_money": "The budget has too little money left, at the rate of the run so far.",
}
"""Rules that end the work on an image."""

REFINEMENTS = {
    "first_critique": "The one refinement of the paper's procedure.",
    "always_refined": "The published procedure refines its drawing from several steps at once, whatever the picture.",
    "few_checks_fail": "The failure is local, so the image is corrected.",
    "revert_to_best": "The last refinement gained nothing: work goes on from the best ancestor, in another way.",
    "promoted": "As a preview it was among the better part, so it is drawn further.",
    "next_round": "Some checks fail, and the line goes on.",
    "advised_refine": "The chat model said so.",
    "by_lot_refine": "The control policy drew a lot.",
}
"""Rules that ask for a refinement."""

RESEEDS = {
    "subject_missing": "An entity is not in the picture, which a refinement seldom mends.",
    "most_checks_fail": "Too much is wrong to correct it.",
    "refinement_stalls": "Refinements in a row gained nothing, so another seed is tried.",
    "advised_reseed": "The chat model said so.",
    "by_lot_reseed": "The control policy drew a lot.",
}
"""Rules that ask for another seed."""

OTHERS = {
    "best_index": "This attempt has the best learned gain for its cost.",
    "by_lot": "The lot chose the attempt, for a run to learn from.",
    "exhaustive": "Everything that other policies could ask for is made, and this image is not worked on by itself.",
    "person": "A person decided otherwise than the policy proposed.",
}
"""Rules of whatever action."""

RULES = STOPS | REFINEMENTS | RESEEDS | OTHERS
"""Meaning by rule; a user's own policy names its own rules."""
