{#- The directory of the run history, which arp_hygiene.status and arp_hygiene.healed read. One that
    is there may be another user's, whose job still writes there: it is given to the new job's user
    when the test run of that job has succeeded. -#}
{%- from "./map.jinja" import hygiene with context %}

{%- if "record" in hygiene.there %}

the run history is the job's:
  file.directory:
    - name: {{ hygiene.paths.record | json }}
    - user: {{ hygiene.job.user | json }}
    - mode: '0750'
    - recurse: [user]  # a heal before the formula was applied, or as another user, is in it already
    - require:
      - arp_hygiene: a test run succeeds
{%- else %}

the directory of the run history exists:
  file.directory:
    - name: {{ hygiene.paths.record | json }}
    - user: {{ hygiene.job.user | json }}
    - mode: '0750'
    - makedirs: true
    - require_in:
      - arp_hygiene: a test run succeeds
{%- endif %}

{%- if hygiene.mark | default([]) %}  {#- older modules have none #}

the run history names its minion:
  file.managed:
    - name: {{ hygiene.paths.record_mark | json }}
    - contents: {{ hygiene.mark | json }}
    - user: {{ hygiene.job.user | json }}
    - mode: '0640'
    - require:
      - arp_hygiene: a test run succeeds
{%- if "record" in hygiene.there %}
      - file: the run history is the job's
{%- endif %}
{%- endif %}
