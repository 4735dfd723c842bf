{#- Waits for a run in progress: what it writes at its end would stay behind. -#}

no run is in progress:
  arp_hygiene.run_ended: []
