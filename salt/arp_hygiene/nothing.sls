{#- A state run of nothing would be a failure. -#}

arp_hygiene has nothing to do here:
  test.nop
