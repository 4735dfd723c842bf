{#- Salt fails a state run without any state. -#}

arp_hygiene has nothing to do here:
  test.nop
