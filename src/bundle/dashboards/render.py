"""From a board to Grafana's JSON. The only module that knows the Foundation SDK."""

import json
from collections.abc import Callable, Iterator, Mapping

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as queries

from bundle.dashboards.house import DATASOURCE, WIDTH, Board, Kind, Link, Panel, Query, Row, Variable

REFRESH = "30s"
SOURCE = shapes.DataSourceRef(type_val="prometheus", uid=f"${{{DATASOURCE}}}")
ROW_HEIGHT = 1
TAG = "bpfleet"

Builder = timeseries.Panel | stat.Panel | table.Panel


def text(board: Board) -> str:
    """The file: the same bytes for the same board."""
    return json.dumps(_board(board).build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _board(board: Board) -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .readonly()
        .refresh(REFRESH)
        .time(board.span, "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("bpfleet")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable(DATASOURCE).label("Prometheus").type("prometheus"))
    )
    for variable in board.variables:
        made = made.with_variable(_variable(variable))
    top = 0
    for row in board.rows:
        made, top = _row(made, row, top)
    return made


def _variable(variable: Variable) -> dashboard.QueryVariable:
    query = f"label_values({variable.metric}, {variable.name})"
    made = (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .description(variable.description)
        .query(query)
        .definition(query)
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(variable.many)
        .include_all(variable.many)
    )
    if not variable.many:
        return made
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return made.all_value(".*").current(everything)


def _row(made: dashboard.Dashboard, row: Row, top: int) -> tuple[dashboard.Dashboard, int]:
    built = dashboard.Row(row.title).id(row.id).grid_pos(models.GridPos(h=ROW_HEIGHT, w=WIDTH, x=0, y=top))
    placed = list(_placed(row, top + ROW_HEIGHT))
    bottom = max((place.y + place.h for _, place in placed), default=top + ROW_HEIGHT)
    made = made.with_row(built)
    for panel, place in placed:
        made = made.with_panel(_panel(panel, place))
    return made, bottom


def _placed(row: Row, top: int) -> Iterator[tuple[Panel, models.GridPos]]:
    """From left to right; what does not fit goes below the highest of its line."""
    left, height = 0, 0
    for panel in row.panels:
        if left + panel.width > WIDTH:
            left, top, height = 0, top + height, 0
        yield panel, models.GridPos(h=panel.height, w=panel.width, x=left, y=top)
        left, height = left + panel.width, max(height, panel.height)


def _panel(panel: Panel, place: models.GridPos) -> Builder:
    made = BUILDERS[panel.kind](panel)
    made = made.id(panel.id).title(panel.title).description(panel.text).unit(panel.unit).datasource(SOURCE)
    made = made.grid_pos(place)
    if panel.link:
        made = made.data_links([dashboard.DashboardLink(panel.link.title).url(_url(panel.link, panel.kind))])
    for number, query in enumerate(panel.queries):
        made = made.with_target(_target(panel, query, chr(ord("A") + number)))
    return made


def _url(link: Link, kind: Kind) -> str:
    place = "__data.fields" if kind is Kind.TABLE else "__field.labels"
    chosen = [f"var-{label}=${{{place}.{label}}}" for label in link.of]
    kept = [f"${{{name}:queryparam}}" for name in (DATASOURCE, *link.kept)]
    return f"/d/{link.uid}?" + "&".join((*kept, *chosen, "${__url_time_range}"))


def _target(panel: Panel, query: Query, name: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(name).datasource(SOURCE)
    if panel.kind is Kind.TABLE:
        return made.instant().format(queries.PromQueryFormat.TABLE)
    return made.range() if panel.kind is Kind.LINES else made.instant()


def _lines(panel: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    made = timeseries.Panel().legend(legend).tooltip(tooltip).min(0).fill_opacity(10).line_width(1)
    made = made.show_points(shapes.VisibilityMode.NEVER)
    if not panel.stacked:
        return made
    return made.fill_opacity(40).stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))


def _number(panel: Panel) -> stat.Panel:
    made = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    made = made.graph_mode(shapes.BigValueGraphMode.NONE).color_mode(shapes.BigValueColorMode.VALUE)
    made = made.no_value("-")
    if any("{{" in query.legend for query in panel.queries):
        made = made.text_mode(shapes.BigValueTextMode.VALUE_AND_NAME)
    return made.thresholds(_thresholds(panel))


def _name(panel: Panel) -> stat.Panel:
    """The legend is what is to be read; the value is 1."""
    return _number(panel).text_mode(shapes.BigValueTextMode.NAME)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Green without a bound; red from `bad` on, or below `least`."""
    if panel.least is not None:
        steps = [models.Threshold(None, "red"), models.Threshold(panel.least, "green")]
    else:
        steps = [models.Threshold(None, "green")]
    if panel.bad is not None:
        steps.append(models.Threshold(panel.bad, "red"))
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _table(panel: Panel) -> table.Panel:
    """A row a label set; each query a column, named by its legend."""
    several = len(panel.queries) > 1
    columns = {
        f"Value #{chr(ord('A') + number)}" if several else "Value": query for number, query in enumerate(panel.queries)
    }
    made = table.Panel()
    if several:
        made = made.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    renamed = {column: query.legend for column, query in columns.items()}
    organized = {"excludeByName": {"Time": True, "__name__": True}, "renameByName": renamed}
    made = made.with_transformation(models.DataTransformerConfig(id_val="organize", options=organized))
    for query in panel.queries:
        if query.unit:
            made = made.override_by_name(query.legend, [models.DynamicConfigValue(id_val="unit", value=query.unit)])
    return made


BUILDERS: Mapping[Kind, Callable[[Panel], Builder]] = {
    Kind.LINES: _lines,
    Kind.NUMBER: _number,
    Kind.NAME: _name,
    Kind.TABLE: _table,
}
