{#- A database host's neighbour table is kept right: the requirement, the kernel's settings, and
    one scheduler. What another scheduler had from us before is taken away. -#}
{%- from "./map.jinja" import hygiene with context %}

include: {{ hygiene.include | json }}
