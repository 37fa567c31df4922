# The types of the generated messages, as far as the demo uses them.

class Point:
    latitude: int
    longitude: int
    def __init__(self, *, latitude: int = ..., longitude: int = ...) -> None: ...

class Rectangle:
    lo: Point
    hi: Point
    def __init__(self, *, lo: Point | None = ..., hi: Point | None = ...) -> None: ...

class Feature:
    name: str
    location: Point
    def __init__(self, *, name: str = ..., location: Point | None = ...) -> None: ...

class RouteNote:
    location: Point
    message: str
    def __init__(self, *, location: Point | None = ..., message: str = ...) -> None: ...

class RouteSummary:
    point_count: int
    feature_count: int
    def __init__(self, *, point_count: int = ..., feature_count: int = ...) -> None: ...
