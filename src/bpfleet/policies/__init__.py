"""Security policies as code: what is unusual is a written, versioned, tested definition.

`reading` makes policies of YAML files, `evaluation` decides about an event, `cases` runs the tests that stand beside a
policy. All of it is pure: the agent decides with it what it tells, continuous integration that it would.
"""
