"""An invoice as a PDF: the API's own figures on paper, the same bytes every time.

Nothing is calculated here: amounts are those of `InvoiceSerializer`, told in English with the currency's digits whoever
asks. The font is bundled (payments/assets), for Latin, Greek and Cyrillic alike; it has no Chinese, Japanese or Korean.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, get_currency_symbol
from django.conf import settings
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from payflow.core.countries import countries
from payflow.core.errors import InvalidTransition
from payments.models import Invoice, InvoiceLine
from payments.serializers import InvoiceSerializer

ASSETS = Path(__file__).resolve().parent / "assets"
LOCALE = Locale.parse("en")

_REGULAR, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_INK, _SOFT, _RULE, _TINT = HexColor("#1c1f23"), HexColor("#5f6873"), HexColor("#d5dae0"), HexColor("#f3f5f7")
_MARGIN = 18 * mm
_WIDTH = A4[0] - 2 * _MARGIN
#: The padding that reportlab gives the frame of a page.
_FRAME = 6

#: The mark beside the title, in the words of the account page.
_MARKS = {
    Invoice.Status.OPEN: ("DUE", HexColor("#9a3412")),
    Invoice.Status.PAID: ("PAID", HexColor("#166534")),
    Invoice.Status.VOID: ("VOID", HexColor("#5f6873")),
    Invoice.Status.UNCOLLECTIBLE: ("UNPAID", HexColor("#9a3412")),
}
#: Told below the lines, each under the name of its own line; what has none under this one.
_BELOW = {
    InvoiceLine.Kind.DISCOUNT: ("discount", "Discount"),
    InvoiceLine.Kind.TAX: ("tax", "Tax"),
    InvoiceLine.Kind.CREDIT: ("credit", "Credit used"),
}
_PRORATED = {InvoiceLine.Kind.PRORATION_CREDIT, InvoiceLine.Kind.PRORATION_CHARGE}

_fonts = threading.Lock()


def invoice_download(invoice: Invoice) -> HttpResponse:
    """The PDF as an answer that a browser saves under the invoice's number. Raises InvalidTransition."""
    response = HttpResponse(invoice_pdf(invoice), content_type="application/pdf")
    disposition = content_disposition_header(as_attachment=True, filename=f"{invoice.number}.pdf")
    response["Content-Disposition"] = str(disposition)
    response["Cache-Control"] = "private, no-store"
    return response


def invoice_pdf(invoice: Invoice) -> bytes:
    """The document of an issued invoice. Raises InvalidTransition for what has no number.

    That is a draft, one that was voided as a draft, and a sale by a merchant of record, who writes the invoice himself.
    """
    if not invoice.number:
        raise InvalidTransition("An invoice has a PDF once it is issued with a number")
    _register_fonts()
    data = InvoiceSerializer(invoice).data
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN - _FRAME,
        rightMargin=_MARGIN - _FRAME,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN + 6 * mm,
        title=f"Invoice {invoice.number}",
        author=settings.SELLER_NAME,
        creator="PayFlow",
        invariant=1,
    )
    story = [_head(data), Spacer(0, 9 * mm), _parties(invoice), Spacer(0, 9 * mm), _lines(data), Spacer(0, 4 * mm)]
    story.append(KeepTogether([_totals(data)]))
    document.build(story, canvasmaker=_NumberedCanvas)
    return out.getvalue()


def _head(data: Mapping[str, Any]) -> Table:
    mark, colour = _MARKS[Invoice.Status(data["status"])]
    badge = Table([[_text(mark, bold=True, size=9, colour="#ffffff")]], colWidths=[_width(mark, 9) + 6 * mm])
    badge.setStyle(TableStyle([("BACKGROUND", (0, 0), (-1, -1), colour), ("PADDING", (0, 0), (-1, -1), 5)]))
    title = [_text("Invoice", bold=True, size=20), Spacer(0, 1.5 * mm), _text(data["number"], size=11, soft=True)]
    facts = [("Issued", data["issued_at"]), ("Due", data["due_at"]), ("Paid", data["paid_at"])]
    dates = [f"{name} {_day(moment)}" for name, moment in facts if moment]
    right = [badge, Spacer(0, 2 * mm), *(_text(line, size=9, right=True) for line in dates)]
    return _columns(title, right, [0.6, 0.4])


def _parties(invoice: Invoice) -> Table:
    buyer = invoice.user
    seller = [settings.SELLER_NAME, *settings.SELLER_ADDRESS.splitlines(), settings.SELLER_TAX_ID]
    country = countries().get(buyer.country, buyer.country)
    return _columns(_party("From", seller), _party("Billed to", [buyer.name, buyer.email, country]), [0.5, 0.5])


def _party(title: str, facts: Iterable[str]) -> list[Any]:
    first, *others = [fact.strip() for fact in facts if fact.strip()] or [""]
    return [_text(title, size=8, soft=True), _text(first, bold=True), *(_text(line, size=9) for line in others)]


def _lines(data: Mapping[str, Any]) -> Table:
    head = [
        _text("Description", size=8, soft=True),
        *(_text(name, size=8, soft=True, right=True) for name in ("Quantity", "Unit price", "Amount")),
    ]
    rows = [
        [
            _described(line),
            _text(_quantity(line["quantity"]), right=True),
            _text(_money(line["unit_amount"], data), right=True),
            _text(_money(line["amount"], data), right=True),
        ]
        for line in data["lines"]
        if line["kind"] not in _BELOW
    ]
    table = Table([head, *rows], colWidths=[_WIDTH * part for part in (0.52, 0.12, 0.18, 0.18)], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("BACKGROUND", (0, 0), (-1, 0), _TINT),
                ("LINEBELOW", (0, 0), (-1, -1), 0.5, _RULE),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
            ]
        )
    )
    return table


def _described(line: Mapping[str, Any]) -> list[Any]:
    """What was sold, for which time, and of a prorated amount where it comes from."""
    cell = [_text(line["description"])]
    if line["period_start"] and line["period_end"]:
        cell.append(_text(f"{_day(line['period_start'])} – {_day(line['period_end'])}", size=8, soft=True))
    if line["kind"] in _PRORATED and (why := _explained(line["explanation"])):
        cell.append(_text(why, size=7, soft=True))
    return cell


def _totals(data: Mapping[str, Any]) -> Table:
    rows = [("Subtotal", _money(data["subtotal"], data))]
    for kind, (name, words) in _BELOW.items():
        lines = [line for line in data["lines"] if line["kind"] == kind and not _is_included(line)]
        rows += [(line["description"], _money(line["amount"], data)) for line in lines]
        if not lines and data[name]:
            rows.append((words, _money(data[name] if name == "tax" else -data[name], data)))
    plain = [[_text(name, size=9, right=True), _text(amount, size=9, right=True)] for name, amount in rows]
    total = [
        _text("Total", bold=True, size=11, right=True),
        _text(_money(data["total"], data), bold=True, size=11, right=True),
    ]
    body = [*plain, total]
    if data["tax_included"]:
        included = f"includes {_included_tax(data['lines'])}: {_money(data['tax_included'], data)}"
        body.append([_text(included, size=8, soft=True, right=True), ""])
    table = Table(body, colWidths=[_WIDTH * 0.34, _WIDTH * 0.22], hAlign="RIGHT")
    style = [
        ("LINEABOVE", (0, len(plain)), (-1, len(plain)), 1, _INK),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    if data["tax_included"]:
        style.append(("SPAN", (0, -1), (-1, -1)))
    table.setStyle(TableStyle(style))
    return table


def _included_tax(lines: Iterable[Mapping[str, Any]]) -> str:
    """`VAT 20 %`: the line of tax without its remark that the price contains it."""
    names = [line["description"].removesuffix(" (included)") for line in lines if _is_included(line)]
    return names[0] if len(names) == 1 else "tax"


def _is_included(line: Mapping[str, Any]) -> bool:
    """Such a line adds nothing: its tax is in the lines above it."""
    return line["kind"] == InvoiceLine.Kind.TAX and bool(line["explanation"].get("inclusive"))


def _explained(explanation: Mapping[str, Any]) -> str:
    """A formula and its inputs: `price * share · price 10.00 · share 14/29 · cycle Jan 31, 2040 – Feb 29, 2040`."""
    parts = [str(explanation["formula"])] if "formula" in explanation else []
    for name, value in explanation.items():
        values = value if isinstance(value, list) else [value]
        if name != "formula" and all(isinstance(each, str | int | Decimal) for each in values):
            parts.append(f"{name.replace('_', ' ')} {' – '.join(map(_moment_or_text, values))}")
    return " · ".join(parts)


def _moment_or_text(value: object) -> str:
    try:
        return _day(datetime.fromisoformat(str(value)))
    except ValueError:
        return str(value)


def _money(amount: Decimal, data: Mapping[str, Any]) -> str:
    """With the currency's digits, or all there are where the amount is finer than that (a unit price)."""
    currency = data["currency"]
    # Babel puts no space behind a symbol of letters: KWD 1.234, but $1.23.
    spaced = "¤ #,##0.00" if str(get_currency_symbol(currency, locale=LOCALE))[-1].isalpha() else None
    return str(format_currency(amount, currency, format=spaced, locale=LOCALE, decimal_quantization=False))


def _quantity(quantity: Any) -> str:
    return str(format_decimal(Decimal(str(quantity)), locale=LOCALE, decimal_quantization=False))


def _day(moment: Any) -> str:
    """In UTC, as the year of the number is. The serializer tells moments as text."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    day = moment.astimezone(UTC).date() if moment.tzinfo else moment.date()
    return str(format_date(day, "medium", locale=LOCALE))


def _text(
    text: Any,
    *,
    bold: bool = False,
    size: float = 10,
    soft: bool = False,
    right: bool = False,
    colour: str | None = None,
) -> Paragraph:
    """Wraps, also words that are longer than the line. `text` is anybody's: nothing in it is markup."""
    style = ParagraphStyle(
        "text",
        fontName=_BOLD if bold else _REGULAR,
        fontSize=size,
        leading=size * 1.35,
        textColor=HexColor(colour) if colour else _SOFT if soft else _INK,
        alignment=TA_RIGHT if right else 0,
    )
    return Paragraph(escape(str(text)), style)


def _columns(left: list[Any], right: list[Any], parts: list[float]) -> Table:
    table = Table([[left, right]], colWidths=[_WIDTH * part for part in parts])
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("ALIGN", (1, 0), (1, 0), "RIGHT"),  # of what is narrower than its column: the mark
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ]
        )
    )
    return table


def _width(text: str, size: float) -> float:
    return float(pdfmetrics.stringWidth(text, _BOLD, size))


def _register_fonts() -> None:
    with _fonts:  # two requests may be the first
        if _BOLD not in pdfmetrics.getRegisteredFontNames():
            for name in (_REGULAR, _BOLD):
                pdfmetrics.registerFont(TTFont(name, ASSETS / f"{name}.ttf"))


class _NumberedCanvas(Canvas):  # type: ignore[misc]
    """Holds the pages back until their number is known: `Page 1 of 3`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._held: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        self._held.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._held, start=1):
            self.__dict__.update(page)
            self.setFont(_REGULAR, 7.5)
            self.setFillColor(_SOFT)
            self.drawString(_MARGIN, 12 * mm, "Dates are in UTC.")
            self.drawRightString(A4[0] - _MARGIN, 12 * mm, f"Page {number} of {len(self._held)}")
            super().showPage()
        super().save()
