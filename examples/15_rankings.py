"""A league with draws and home games: who is strongest, and who would win?

python examples/15_rankings.py
"""

from forerun.limits import rankings

# at home, away, outcome: a win at home (1), a draw (x), a win away (2)
SEASON = """
Ash Birch 1, Ash Cedar x, Ash Elm 1, Birch Ash 2, Birch Cedar 1, Birch Elm x
Cedar Ash x, Cedar Birch 1, Cedar Elm 2, Elm Ash 1, Elm Birch 1, Elm Cedar 1
Ash Birch x, Cedar Elm 1, Birch Elm 1, Elm Ash x, Cedar Ash 2, Birch Cedar 2
"""
games = [game.split() for line in SEASON.split("\n") for game in line.split(",") if game]
winners = [away if outcome == "2" else home for home, away, outcome in games]
losers = [home if outcome == "2" else away for home, away, outcome in games]
record = rankings.GameRecord.from_games(
    winners,
    losers,
    is_tie=[outcome == "x" for _, _, outcome in games],
    venues=[-1 if outcome == "2" else 1 for _, _, outcome in games],
)

model = rankings.BradleyTerry(ties=rankings.Davidson(), home=True)
ranking = model.fit(record)
for place, name, log_strength, _ in zip(*ranking.as_columns().values(), strict=True):
    print(f"{place}. {name:6} {log_strength:+.2f}")
print(f"being at home adds {ranking.home_advantage:+.2f}; a draw weighs {ranking.tie_strength:.2f}")
first, second = ranking.order[:2]
names = [ranking.names[player] for player in (first, second)]
win, tie = ranking.predict_win(first, second, venue=1), ranking.predict_tie(first, second, venue=1)
print(f"{names[0]} at home to {names[1]}: wins {win:.0%}, draws {tie:.0%}")
print(ranking.limit)

# Three regattas, not everybody in each: orders rather than pairs. Nobody beat the winner, so a prior is needed.
regattas = [["Kea", "Lark", "Moa", "Nene"], ["Kea", "Moa", "Lark"], ["Nene", "Lark"]]
print("\nregattas:", rankings.PlackettLuce(prior=0.5).fit(regattas).ranked_names)
