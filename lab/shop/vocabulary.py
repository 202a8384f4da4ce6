"""The words of the sample shop: what it sells, who makes it, and in which style.

Taste acts on the three axes kind, brand and style, and every title is made of exactly these
words. So a title shows all that matters about an item, and each word recurs on dozens of items.
"""

from typing import NamedTuple

AXES = ("kind", "brand", "style")


class Kind(NamedTuple):
    name: str
    department: str
    aisle: str
    base_price: int
    materials: tuple[str, ...]


class Brand(NamedTuple):
    name: str
    departments: tuple[str, ...]
    price_level: float


class Style(NamedTuple):
    name: str
    departments: tuple[str, ...]


OUTDOOR, KITCHEN, HOME = "Outdoor", "Kitchen", "Home"
ELECTRONICS, TRAVEL, GARDEN = "Electronics", "Travel", "Garden"
DEPARTMENTS = (OUTDOOR, KITCHEN, HOME, ELECTRONICS, TRAVEL, GARDEN)

KINDS = (
    Kind("Tent", OUTDOOR, "Camping", 220, ("nylon", "polyester", "canvas")),
    Kind("Sleeping Bag", OUTDOOR, "Camping", 140, ("down", "nylon", "cotton")),
    Kind("Headlamp", OUTDOOR, "Camping", 45, ("aluminum", "plastic")),
    Kind("Hiking Boots", OUTDOOR, "Hiking", 150, ("leather", "suede", "nylon")),
    Kind("Rain Jacket", OUTDOOR, "Hiking", 130, ("nylon", "polyester", "waxed cotton")),
    Kind("Kettle", KITCHEN, "Tea and Coffee", 60, ("steel", "glass", "enamel")),
    Kind("Coffee Grinder", KITCHEN, "Tea and Coffee", 90, ("steel", "wood", "aluminum")),
    Kind("Skillet", KITCHEN, "Cookware", 55, ("cast iron", "steel", "copper")),
    Kind("Knife Set", KITCHEN, "Cookware", 120, ("steel", "ceramic")),
    Kind("Lunch Box", KITCHEN, "Food Storage", 25, ("steel", "bamboo", "plastic")),
    Kind("Desk Lamp", HOME, "Lighting", 70, ("brass", "steel", "wood")),
    Kind("Blanket", HOME, "Textiles", 65, ("wool", "cotton", "fleece")),
    Kind("Cushion", HOME, "Textiles", 30, ("linen", "cotton", "velvet")),
    Kind("Wall Clock", HOME, "Decoration", 40, ("wood", "steel", "glass")),
    Kind("Bookshelf", HOME, "Furniture", 180, ("oak", "pine", "steel")),
    Kind("Headphones", ELECTRONICS, "Audio", 130, ("plastic", "aluminum")),
    Kind("Speaker", ELECTRONICS, "Audio", 110, ("plastic", "walnut", "aluminum")),
    Kind("Radio", ELECTRONICS, "Audio", 80, ("plastic", "walnut")),
    Kind("Keyboard", ELECTRONICS, "Computing", 95, ("plastic", "aluminum")),
    Kind("Charger", ELECTRONICS, "Computing", 35, ("plastic", "aluminum")),
    Kind("Backpack", TRAVEL, "Bags", 95, ("nylon", "canvas", "leather")),
    Kind("Suitcase", TRAVEL, "Bags", 170, ("polycarbonate", "aluminum", "canvas")),
    Kind("Wash Bag", TRAVEL, "Accessories", 28, ("canvas", "nylon", "leather")),
    Kind("Wallet", TRAVEL, "Accessories", 40, ("leather", "cork", "nylon")),
    Kind("Travel Mug", TRAVEL, "Accessories", 28, ("steel", "ceramic", "bamboo")),
    Kind("Watering Can", GARDEN, "Tools", 32, ("zinc", "copper", "plastic")),
    Kind("Pruner", GARDEN, "Tools", 38, ("steel", "ash wood")),
    Kind("Planter", GARDEN, "Plants", 34, ("terracotta", "zinc", "cedar")),
    Kind("Hammock", GARDEN, "Leisure", 75, ("cotton", "nylon")),
    Kind("Lantern", GARDEN, "Leisure", 36, ("brass", "glass", "steel")),
)

BRANDS = (
    Brand("Nordvik", (OUTDOOR, TRAVEL, HOME), 1.3),
    Brand("Tarnfell", (OUTDOOR, GARDEN, TRAVEL), 1.0),
    Brand("Lumaro", (HOME, ELECTRONICS, GARDEN), 1.1),
    Brand("Oakline", (HOME, KITCHEN, GARDEN), 0.9),
    Brand("Kestano", (KITCHEN, ELECTRONICS, TRAVEL), 1.2),
    Brand("Brightmoor", (OUTDOOR, HOME, ELECTRONICS), 0.8),
    Brand("Velamo", (TRAVEL, ELECTRONICS, OUTDOOR), 1.4),
    Brand("Fernhall", (GARDEN, HOME, KITCHEN), 1.0),
    Brand("Pellworth", (KITCHEN, HOME, TRAVEL), 1.5),
    Brand("Quillmark", (ELECTRONICS, HOME, TRAVEL), 1.1),
    Brand("Solvane", (GARDEN, OUTDOOR, ELECTRONICS), 0.9),
    Brand("Birkhollow", (OUTDOOR, KITCHEN, GARDEN), 0.8),
    Brand("Tidewell", (TRAVEL, KITCHEN, OUTDOOR), 1.0),
    Brand("Copperlea", (KITCHEN, GARDEN, ELECTRONICS), 1.3),
    Brand("Mossgate", (GARDEN, TRAVEL, HOME), 0.7),
    Brand("Zephyrine", (ELECTRONICS, TRAVEL, KITCHEN), 0.9),
    Brand("Ravensby", (OUTDOOR, HOME, KITCHEN), 1.2),
    Brand("Marrowby", (HOME, ELECTRONICS, GARDEN), 0.8),
    Brand("Ostrand", (KITCHEN, OUTDOOR, ELECTRONICS), 0.7),
    Brand("Halvard", (TRAVEL, OUTDOOR, GARDEN), 1.1),
)

STYLES = (
    Style("Classic", DEPARTMENTS),
    Style("Minimalist", DEPARTMENTS),
    Style("Vintage", DEPARTMENTS),
    Style("Compact", (OUTDOOR, KITCHEN, ELECTRONICS, TRAVEL, GARDEN)),
    Style("Rugged", (OUTDOOR, KITCHEN, ELECTRONICS, TRAVEL, GARDEN)),
    Style("Recycled", DEPARTMENTS),
    Style("Handmade", (KITCHEN, HOME, TRAVEL, GARDEN)),
    Style("Ultralight", (OUTDOOR, KITCHEN, ELECTRONICS, TRAVEL)),
    Style("Playful", DEPARTMENTS),
    Style("Elegant", (KITCHEN, HOME, ELECTRONICS, TRAVEL, GARDEN)),
    Style("Industrial", (KITCHEN, HOME, ELECTRONICS, GARDEN)),
    Style("Coastal", (OUTDOOR, KITCHEN, HOME, TRAVEL, GARDEN)),
    Style("Alpine", (OUTDOOR, HOME, TRAVEL, KITCHEN)),
    Style("Premium", (OUTDOOR, KITCHEN, HOME, ELECTRONICS, TRAVEL)),
)

COLORS = ("black", "white", "gray", "navy", "green", "red", "sand", "ocher", "teal", "plum")
