"""Words of the ordinary captions: common subjects, what they do, where, when, and how a picture shows them."""

BEINGS = """ an old man; a young woman; a child; a farmer; a cyclist; a waiter; a nurse; a painter; a street
musician; a fisherman; a baker; a carpenter; a teacher; a hiker; a runner; a gardener; a mechanic; a tourist; a
couple; a family of four; two friends; three students; a boy in a raincoat; a girl with a braid; a woman in a wool
coat; a man with a beard; a brown dog; a spotted dog; a grey cat; a ginger cat; a white horse; a foal; a herd of
cows; two sheep; a goat; a flock of geese; a swan; a seagull; a sparrow; an owl; a parrot; a rooster; a squirrel; a
rabbit; a fox; a deer; a hedgehog; an elephant; a giraffe; a zebra; a monkey; a bear; a tortoise; a frog
"""
DOINGS = """
waiting for a bus; reading a newspaper; drinking from a cup; looking at the sea; crossing a bridge; resting in the
shade; walking through puddles; standing by a fence; sitting on the steps; running along a path; sleeping on a
blanket; looking out of a window; climbing a small hill; playing with a ball; standing in tall grass; eating an
apple; hiding behind a tree; watching the rain; turning its head; leaning on a wall
"""
PLACES = """
in a quiet street; at a railway station; in a city park; on a wooden pier; in a market hall; on a gravel road;
beside a river; at the edge of a forest; in a wheat field; on a snowy hillside; in a narrow alley; on a sandy beach;
under a stone arch; in a vegetable garden; by a mountain lake; in a parking lot; on a village square; near a
lighthouse; in an orchard; on a balcony; next to a fountain; in a school yard; at a bus stop; in a harbour; on a
rooftop; beside a barn; in a meadow; at the foot of a cliff
"""
TIMES = """
at dawn; in the morning; at noon; in the afternoon; at sunset; at dusk; at night; on a foggy day; on a rainy day; on
a windy day; in early spring; in late summer; in autumn; in winter; under a cloudy sky; under a clear sky
"""
OBJECTS = """
bicycle; typewriter; teapot; kettle; lantern; wooden chair; armchair; desk lamp; bookshelf; alarm clock; suitcase;
umbrella; pair of boots; straw hat; guitar; violin; piano; radio; camera; telephone; vase; basket; ladder;
wheelbarrow; watering can; bucket; broom; toolbox; rowing boat; sailing boat; tractor; truck; tram; taxi; bus;
motorbike; caravan; hot air balloon; kite; chessboard; globe; candle; mirror; pillow; rug; backpack; pocket knife;
pair of glasses; sewing machine; toy train; teddy bear; mailbox; bench; swing; tent; canoe; sled; pair of skis
"""
QUALITIES = """
old; new; small; large; rusty; shiny; dusty; broken; wet; striped; painted; plain; antique; folded; colourful;
faded; red; yellow; dark green; pale blue; grey; brown; black; white; orange; purple
"""
SPOTS = """
on a table; on a windowsill; on the floor; against a brick wall; on a shelf; in an empty room; in a workshop; in a
kitchen; under a lamp; in the attic; on a blanket; beside an open door; in the snow; on wet pavement; in the grass;
on the sand; in front of a garage; behind a curtain; near a staircase; in a shop window
"""
FOOD = """
a bowl of soup; a plate of pasta; a loaf of bread; a slice of cake; a basket of apples; a jar of honey; a pot of
rice; a glass of lemonade; a fried egg; a salad with tomatoes; grilled fish; a cheese board; pancakes with berries;
a pile of oranges; roasted potatoes; a cup of tea; a box of pastries; mushrooms in a pan; a bunch of carrots; a pear
tart
"""
SERVED = """
on a wooden board; on a blue plate; with fresh herbs; beside a folded napkin; on a picnic blanket; in a small café;
with a silver spoon; on a market stall; next to a window; on a white tablecloth; on a metal tray; in a lunch box
"""
VIEWS = """
a mountain range; a river valley; a rocky coast; a pine forest; a desert road; rolling hills; a frozen lake; a
waterfall; terraced fields; a stone bridge; a row of houses; a wooden cabin; a windmill; a castle ruin; a modern
office building; a church tower; a factory with chimneys; a suspension bridge; a skyline; a canal with boats; a
railway viaduct; a greenhouse; a fishing village; an empty stadium; a country lane; a birch wood; a swamp; sand
dunes; a vineyard
"""
SEEN = """
seen from above; seen from a train; reflected in water; behind bare trees; half hidden in mist; with birds in the
sky; with long shadows; after the rain; covered in snow; lit by street lamps; with a fence in front; from a low
angle; with a single cloud above; through an open window
"""
STYLES = """
photograph; oil painting; watercolour; pencil sketch; ink drawing; woodcut; pastel drawing; poster; black and white
photograph; close-up; wide shot; snapshot; illustration; charcoal drawing; collage; mosaic; linocut; book
illustration
"""
MANNERS = """
soft light; warm colours; muted colours; strong contrast; shallow depth of field; fine detail; rough brush strokes;
a calm mood; a plain background; grainy film; bright daylight; backlight; simple shapes; a wide frame
"""
