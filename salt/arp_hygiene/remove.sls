{#- Removes what the formula has installed, and only that: first the schedule, then, when no run is in
    progress, what runs leave. Kernel settings stay in force until the next boot; pyroute2 stays
    unless arp_hygiene:requirement:uninstall is true. An invalid pillar does not prevent it. Without
    our modules it removes nothing, and fails only where there is something to remove. -#}
{%- from "./map.jinja" import hygiene with context %}
{%- set textfile, left, unread = "", [], "" %}
{%- if hygiene.unsynced is not defined %}
{%- set textfile = hygiene.paths.pillar_textfile %}
{%- set unread = hygiene.refused and hygiene.refused ~ "; metrics and requirement:uninstall were not looked at" %}
{%- set unread = hygiene.unread | default(unread) %}  {#- older modules have none #}
{%- else %}
{%- from "./left.jinja" import left with context %}
{%- from "./unsynced.jinja" import unsynced with context %}
{%- endif %}

{%- set removes = hygiene.removes | default(hygiene.there) %}  {#- older modules have none #}
{%- set stays = hygiene.stays | default([]) %}

{%- if removes or hygiene.uninstall %}

include:
{%- for part in removes %}
  - .{{ part }}_absent
{%- endfor %}
{%- if hygiene.uninstall %}
  - .requirement_absent
{%- endif %}
{%- elif left %}
{%- set left = left | join(", ") %}
{{ unsynced("the formula's modules are not on this minion, so nothing is removed: run saltutil.sync_all, then this again; found here: " ~ left) }}
{%- elif not textfile and not unread and not stays %}

arp_hygiene has nothing to remove here:
  test.succeed_without_changes:
    - comment: "nothing to remove: nothing that the formula installs is here"
{%- endif %}

{%- if textfile %}

the textfile in the directory that pillar names is removed:
  file.absent:
    - name: {{ textfile | json }}
{%- endif %}

{%- if unread %}

the pillar of arp_hygiene is not read completely:
  test.succeed_without_changes:
    - comment: {{ unread | json }}
{%- endif %}

{%- for line in stays %}

{{ line | json }}:
  test.succeed_without_changes:
    - comment: {{ line | json }}
{%- endfor %}
