"""An hour of churn on one gateway, and what it costs in the end: nothing.

`make soak`, or `python -m tests.soak --minutes 60`. One agent with one gateway runs in
the lab while devboxes come and go, policies change, connections of every kind are made
and broken, servers and resolvers die and the gateway itself is killed. Meanwhile
everything that could be used up is counted.

| module | what |
| --- | --- |
| `keeper` | the agent's process, in the lab's host namespace |
| `agent` | the soak's end of it |
| `slots` | devboxes without a container: a namespace on a slot |
| `traffic` | one connection of each kind, from such a namespace |
| `churn` | what goes on all the time |
| `samples` | what is counted |
| `growth` | a fit through the samples, and the bounds |
| `chart` | the samples as a drawing |
"""
