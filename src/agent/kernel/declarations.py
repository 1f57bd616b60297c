"""BTF as C: the declarations that a text needs, each with the kernel's exact layout, and the proof of it.

Every record is written packed, with its padding and alignment spelled out, so no compiler rule (nor the dialect that
newer kernels are built with) can move a field. What is only pointed at is declared, not defined; a pointer to a
function is a `void *`; qualifiers are dropped. None of that changes a layout.
"""

from collections.abc import Collection

from agent.kernel import btf
from agent.kernel.btf import Btf

POINTER_SIZE = 8  # the agent runs on 64-bit kernels only

_BUILTIN = {"__builtin_va_list", "__int128_t", "__uint128_t"}


class Declarations:
    """Collects declarations in the order in which C needs them.

    taken: names that the text defines itself; they are left to it.
    followed: member names whose pointers are followed, so that `a->b->c` finds the type of `b` defined.
    """

    def __init__(self, types: Btf, taken: Collection[str] = (), followed: Collection[str] = ()) -> None:
        self._types = types
        self._followed = followed
        self._lines: list[str] = []
        self._forward: dict[str, None] = {}
        self._tags: dict[str, int] = dict.fromkeys(taken, -1)
        self._ordinary: dict[str, int] = dict.fromkeys([*taken, *_BUILTIN], -1)
        self._defined: set[int] = set()  # records
        self._declared: set[int] = set()  # typedefs and enumerations
        self._alignments: dict[int, int] = {}  # of records
        self._followups: list[int] = []
        self._pads = 0
        self.assertions: list[str] = []

    def text(self) -> str:
        return "\n".join([*(f"{tag};" for tag in self._forward), *self._lines, ""])

    def require(self, number: int) -> None:
        """Define this type and all that it contains."""
        self._define(number)
        while self._followups:
            self._define(self._followups.pop())

    def mention(self, number: int) -> None:
        """Make the name of a type known, without its contents."""
        self._declare(number)

    def _define(self, number: int) -> None:
        kind = self._types.type(number)
        if kind.kind in btf.RECORDS and kind.name:
            self._define_record(number)
        elif kind.kind in btf.ENUMS:
            self._declare_enumeration(number)
        elif kind.kind in (*btf.QUALIFIERS, btf.TYPEDEF):
            if kind.kind == btf.TYPEDEF:
                self._declare(number)
            self._define(kind.size_or_type)
        elif kind.kind == btf.ARRAY:
            self._define(self._types.array(number)[0])
        else:
            self._declare(number)

    def _declare(self, number: int) -> None:
        """Make the name known, which is all that a pointer needs."""
        kind = self._types.type(number)
        if kind.kind in (*btf.RECORDS, btf.FWD) and kind.name:
            self._forward.setdefault(self._tag(number))
        elif kind.kind in btf.ENUMS:
            self._declare_enumeration(number)
        elif kind.kind in (*btf.QUALIFIERS, btf.PTR):
            self._declare(kind.size_or_type)
        elif kind.kind == btf.ARRAY:
            self._define(self._types.array(number)[0])
        elif kind.kind == btf.TYPEDEF and number not in self._declared:
            self._declared.add(number)
            self._declare(kind.size_or_type)
            target = self._types.type(self._types.resolved(number)).kind
            if kind.name not in _BUILTIN and target != btf.FUNC_PROTO:
                line = f"typedef {self._declarator(kind.size_or_type, self._typedef(number))};"
                self._lines.append(line)

    def _declare_enumeration(self, number: int) -> None:
        kind = self._types.type(number)
        if kind.name and number not in self._declared:
            self._declared.add(number)
            self._lines.append(f"{self._enumeration(number)};")

    def enumerators(self, number: int) -> None:
        """Define an enumeration for its values' sake; it may have no name."""
        if number not in self._declared:
            self._declared.add(number)
            if body := self._enumeration(number):
                self._lines.append(f"{body};")

    def _enumeration(self, number: int) -> str:
        kind = self._types.type(number)
        values = []
        for name, value in self._types.values(number):
            if self._ordinary.setdefault(name, number) == number:
                suffix = "ULL" if value >= 1 << 63 else "LL" if abs(value) >= 1 << 31 else ""
                values.append(f"{name} = {value}{suffix}")
        tag = self._tag(number) if kind.name else "enum"
        if not values:
            if not kind.name:
                return ""
            values.append(f"_none_{number} = {0 if kind.size_or_type <= 4 else 1 << 40}")
        small = " __attribute__((packed))" if kind.size_or_type < 4 else ""
        return f"{tag} {{ {', '.join(values)} }}{small}"

    def _define_record(self, number: int) -> None:
        if number in self._defined:
            return
        self._defined.add(number)
        tag = self._tag(number)
        self._forward.setdefault(tag)
        self._lines.append(f"{tag} {self._body(number)};")
        size = self._types.type(number).size_or_type
        self.assertions.append(f'_Static_assert(sizeof({tag}) == {size}, "{tag}");')
        self._assert_offsets(number, tag, 0)

    def _assert_offsets(self, number: int, tag: str, base: int) -> None:
        for member in self._types.members(number):
            offset = base + member.offset
            if member.name and not member.bits:
                where = f"{tag}, {member.name}"
                self.assertions.append(f'_Static_assert(__builtin_offsetof({where}) == {offset // 8}, "{where}");')
            elif not member.name and not member.bits:
                self._assert_offsets(self._types.plain(member.type), tag, offset)

    def _body(self, number: int) -> str:
        kind = self._types.type(number)
        members = self._types.members(number)
        parts, position = [], 0
        for member in members:
            self._define(member.type)
            self._follow(member)
            if kind.kind == btf.STRUCT:
                parts += self._padding(position, member.offset)
            bits = f" : {member.bits}" if member.bits else ""
            parts.append(f"{self._declarator(member.type, member.name)}{bits};")
            end = member.offset + (member.bits or 8 * self._size(member.type))
            position = max(position, end)
        if kind.kind == btf.STRUCT:
            parts += self._padding(position, 8 * kind.size_or_type)
        elif position < 8 * kind.size_or_type:
            parts += self._padding(0, 8 * kind.size_or_type)
        return f"{{ {' '.join(parts)} }} __attribute__((packed, aligned({self._alignment(number)})))"

    def _follow(self, member: btf.Member) -> None:
        kind = self._types.type(self._types.plain(member.type))
        if kind.kind == btf.PTR and member.name in self._followed:
            target = self._types.resolved(kind.size_or_type)
            if self._types.type(target).kind in btf.RECORDS and target not in self._defined:
                self._followups.append(target)

    def _padding(self, start: int, end: int) -> list[str]:
        """Members without meaning that fill the bits from start to end."""
        parts = []
        if start % 8 and start < end:
            bits = min(end - start, 8 - start % 8)
            parts.append(f"unsigned char : {bits};")
            start += bits
        if end - start >= 8:
            self._pads += 1
            parts.append(f"char _pad{self._pads}[{(end - start) // 8}];")
            start += (end - start) // 8 * 8
        if start < end:
            parts.append(f"unsigned char : {end - start};")
        return parts

    def _declarator(self, number: int, name: str) -> str:
        """`type name` as C writes it, from the inside out."""
        while True:
            number = self._types.plain(number)
            kind = self._types.type(number)
            if kind.kind == btf.ARRAY:
                element, length = self._types.array(number)
                name = f"({name})[{length}]" if name.startswith("*") else f"{name}[{length}]"
                number = element
            elif kind.kind == btf.PTR:
                if self._is_opaque(kind.size_or_type):
                    return f"void *{name}"
                self._declare(kind.size_or_type)
                name = f"*{name}"
                number = kind.size_or_type
            else:
                return f"{self._base(number, not name)} {name}".rstrip()

    def _is_opaque(self, target: int) -> bool:
        """Functions, and records that have no name to refer to."""
        kind = self._types.type(self._types.resolved(target))
        direct = self._types.type(self._types.plain(target))
        return kind.kind == btf.FUNC_PROTO or (direct.kind in btf.RECORDS and not direct.name)

    def _base(self, number: int, inside: bool) -> str:
        """inside: what it names is a member without a name, whose own members belong to the record around it.
        Newer kernels do that with named records too, so these are written out in place."""
        kind = self._types.type(number)
        if kind.kind in btf.RECORDS and (inside or not kind.name):
            return f"{'struct' if kind.kind == btf.STRUCT else 'union'} {self._body(number)}"
        if kind.kind in btf.ENUMS and not kind.name:
            return {1: "unsigned char", 2: "unsigned short", 8: "unsigned long long"}.get(kind.size_or_type, "int")
        if kind.kind in (*btf.RECORDS, *btf.ENUMS, btf.FWD):
            return self._tag(number)
        if kind.kind == btf.TYPEDEF:
            return self._typedef(number)
        return kind.name or "void"

    def _tag(self, number: int) -> str:
        """`struct name`; a second type of that name is told apart by its id."""
        kind = self._types.type(number)
        keyword = "enum" if kind.kind in btf.ENUMS else "struct"
        if kind.kind == btf.UNION or (kind.kind == btf.FWD and kind.flag):
            keyword = "union"
        if kind.kind == btf.FWD or self._tags.setdefault(kind.name, number) == number:
            return f"{keyword} {kind.name}"
        return f"{keyword} {kind.name}___{number}"

    def _typedef(self, number: int) -> str:
        name = self._types.type(number).name
        if name in _BUILTIN or self._ordinary.setdefault(name, number) == number:
            return name
        return f"{name}___{number}"

    def _size(self, number: int) -> int:
        """In bytes."""
        number = self._types.resolved(number)
        kind = self._types.type(number)
        if kind.kind == btf.ARRAY:
            element, length = self._types.array(number)
            return length * self._size(element)
        return POINTER_SIZE if kind.kind == btf.PTR else kind.size_or_type

    def _alignment(self, number: int) -> int:
        """The largest that the type's size and its members' offsets allow, up to what its members ask for."""
        number = self._types.resolved(number)
        kind = self._types.type(number)
        if kind.kind == btf.ARRAY:
            return self._alignment(self._types.array(number)[0])
        if kind.kind not in btf.RECORDS:
            return self._size(number) or 1
        if number in self._alignments:
            return self._alignments[number]
        wishes = [(m.offset // 8, self._alignment(m.type)) for m in self._types.members(number) if not m.bits]
        wishes += [(m.offset // 8, 1) for m in self._types.members(number) if m.bits]
        alignment = max((wish for _, wish in wishes), default=1)
        while alignment > 1 and (
            kind.size_or_type % alignment or any(offset % min(alignment, wish) for offset, wish in wishes)
        ):
            alignment //= 2
        self._alignments[number] = alignment
        return alignment
