"""The names that the specification reserves, with their types: what destinations understand without being told.

An event call takes any mapping. These TypedDicts are for the editor, which completes their keys, and for code that
wants to be checked: `traits: UserTraits = {...}`.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias, TypedDict

from ._public import publish

__all__ = ["EventContext", "GroupTraits", "PageProperties", "TrackProperties", "UserTraits"]

Moment: TypeAlias = datetime | date | str
Number: TypeAlias = int | float | Decimal


class Address(TypedDict, total=False):
    """A postal address."""

    city: str
    country: str
    postalCode: str
    state: str
    street: str


class Company(TypedDict, total=False):
    """The company that a user works for."""

    name: str
    id: str | int
    industry: str
    employee_count: int
    plan: str


class UserTraits(TypedDict, total=False):
    """Reserved traits of `identify`. Other traits may have any name."""

    address: Address
    age: int
    avatar: str
    birthday: Moment
    company: Company
    createdAt: Moment
    description: str
    email: str
    firstName: str
    gender: str
    id: str | int
    lastName: str
    name: str
    phone: str
    title: str
    username: str
    website: str


class GroupTraits(TypedDict, total=False):
    """Reserved traits of `group`. Other traits may have any name."""

    address: Address
    avatar: str
    createdAt: Moment
    description: str
    email: str
    employees: str | int
    id: str | int
    industry: str
    name: str
    phone: str
    plan: str
    website: str


class TrackProperties(TypedDict, total=False):
    """Reserved properties of `track`. Other properties may have any name."""

    revenue: Number
    currency: str
    value: Number


class PageProperties(TypedDict, total=False):
    """Reserved properties of `page`. Other properties may have any name."""

    name: str
    path: str
    referrer: str
    search: str
    title: str
    url: str
    keywords: list[str]


class App(TypedDict, total=False):
    """The application that the event comes from."""

    name: str
    version: str
    build: str
    namespace: str


class Campaign(TypedDict, total=False):
    """The campaign that led the user here: the `utm_` parameters of the URL, without their prefix."""

    name: str
    source: str
    medium: str
    term: str
    content: str


class Device(TypedDict, total=False):
    """The user's device."""

    id: str
    advertisingId: str
    adTrackingEnabled: bool
    manufacturer: str
    model: str
    name: str
    type: str
    version: str


class Location(TypedDict, total=False):
    """Where the user is."""

    city: str
    country: str
    latitude: float
    longitude: float
    region: str
    speed: float


class Network(TypedDict, total=False):
    """The network of the user's device."""

    bluetooth: bool
    carrier: str
    cellular: bool
    wifi: bool


class OperatingSystem(TypedDict, total=False):
    """The operating system of the user's device."""

    name: str
    version: str


class Page(TypedDict, total=False):
    """The page that the user is on."""

    path: str
    referrer: str
    search: str
    title: str
    url: str


class Referrer(TypedDict, total=False):
    """What referred the user to the application."""

    id: str
    type: str
    name: str
    url: str
    link: str


class Screen(TypedDict, total=False):
    """The screen of the user's device."""

    density: float
    height: int
    width: int


class EventContext(TypedDict, total=False):
    """Reserved members of `context`. Others may have any name; `library` is the library's own."""

    active: bool
    app: App
    campaign: Campaign
    channel: str
    device: Device
    groupId: str
    ip: str
    locale: str
    location: Location
    network: Network
    os: OperatingSystem
    page: Page
    referrer: Referrer
    screen: Screen
    timezone: str
    traits: UserTraits
    userAgent: str
    userAgentData: dict[str, Any]


publish("millstream", EventContext, GroupTraits, PageProperties, TrackProperties, UserTraits)
