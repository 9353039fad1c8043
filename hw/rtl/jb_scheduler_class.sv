// The slots of one class: takes words of flags (one per element, set where it has to be computed) and fills a pass with pairs of
// channels of dz, up to Slots of them. Words wait in a queue that holds those of a whole window (see jb_scheduler), so that no class
// ever holds up another one.
`default_nettype none

module jb_scheduler_class #(
  parameter int Half     = 8,   // channels of dz
  parameter int Channels = 2,   // channels of x in a word of flags: 1 or 2
  parameter int Slots    = 24,
  parameter int Depth    = 32   // of the queue; a power of two
) (
  input  wire logic                      clk_i,
  input  wire logic                      rst_ni,
  input  wire logic                      push_i,
  input  wire logic [Half*Channels-1:0]  flags_i,      // channel of x * Half + channel of dz
  input  wire logic [3:0]                position_i,   // row in the window * 3 + column
  input  wire logic [1:0]                channel_i,    // first channel of x
  input  wire logic                      last_i,       // of the window
  output      logic                      full_o,       // at most 8 further words fit
  // The pass
  output      logic                      settled_o,    // nothing changes until it is released
  output      logic                      done_o,       // nothing is left of the window
  output      logic                      used_o,       // a slot is used
  input  wire logic                      release_i,    // start the next pass
  input  wire logic                      release_window_i,  // and the next window
  output      logic [Slots*6-1:0]        tap_o,        // position * 4 + channel of x
  output      logic [Slots*6-1:0]        lane_o,       // two channels of dz
  output      logic [Slots*2-1:0]        use_o
);
  localparam int Flags = Half * Channels;
  localparam int Bits = $clog2(Depth);
  localparam int Entry = Flags + 7;

  (* ram_style = "distributed" *) logic [Entry-1:0] queue[Depth];
  logic [Bits-1:0] write_q, read_q, level;
  logic [Entry-1:0] front;
  logic pop, empty;

  assign level  = write_q - read_q;
  assign empty  = write_q == read_q;
  assign full_o = level >= Bits'(Depth - 10);
  assign front  = queue[read_q];

  always_ff @(posedge clk_i) begin
    if (push_i) queue[write_q] <= {last_i, position_i, channel_i, flags_i};
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
    end else begin
      if (push_i) write_q <= write_q + 1'b1;
      if (pop) read_q <= read_q + 1'b1;
    end
  end

  // The word at work
  logic valid_q, last_q, done_q;
  logic [3:0] position_q;
  logic [1:0] channel_q;
  logic [Flags-1:0] flags_q, left;
  logic [Half-1:0] flags, first, rest, second;
  logic [1:0] channel;
  logic [4:0] count_q;
  logic full, emit, finish;

  assign full = count_q == 5'(Slots);
  if (Channels == 2) begin : gen_two
    logic upper;
    assign upper   = flags_q[Half-1:0] == '0;
    assign flags   = upper ? flags_q[Flags-1:Half] : flags_q[Half-1:0];
    assign left    = upper ? {rest & ~second, flags_q[Half-1:0]} : {flags_q[Flags-1:Half], rest & ~second};
    assign channel = {channel_q[1], upper};
    logic unused_channel;
    assign unused_channel = channel_q[0];
  end else begin : gen_one
    assign flags   = flags_q;
    assign left    = rest & ~second;
    assign channel = channel_q;
  end
  assign first  = flags & -flags;
  assign rest   = flags & ~first;
  assign second = rest & -rest;

  assign emit   = valid_q && flags_q != '0 && !full;
  assign finish = valid_q && (flags_q == '0 || (emit && left == '0));
  assign pop    = !empty && !done_q && (!valid_q || (finish && !last_q));

  assign done_o    = done_q;
  assign settled_o = done_q || (full && valid_q && flags_q != '0);
  assign used_o    = count_q != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      done_q  <= 1'b0;
    end else begin
      if (pop) valid_q <= 1'b1;
      else if (finish) valid_q <= 1'b0;
      if (finish && last_q) done_q <= 1'b1;
      else if (release_i && release_window_i) done_q <= 1'b0;
    end
    if (pop) {last_q, position_q, channel_q, flags_q} <= front;
    else if (emit) flags_q <= left;
  end

  // Numbers of the lanes
  logic [2:0] lane_a, lane_b;
  always_comb begin
    lane_a = '0;
    lane_b = '0;
    for (int i = 0; i < Half; i++) begin
      if (first[i]) lane_a = lane_a | 3'(i);
      if (second[i]) lane_b = lane_b | 3'(i);
    end
  end

  // Slots move up as new ones come
  always_ff @(posedge clk_i) begin
    if (!rst_ni || release_i) begin
      use_o   <= '0;
      count_q <= '0;
    end else if (emit) begin
      use_o   <= {use_o[Slots*2-3:0], second != '0, 1'b1};
      count_q <= count_q + 5'd1;
    end
    if (emit) begin
      tap_o  <= {tap_o[Slots*6-7:0], position_q, channel};
      lane_o <= {lane_o[Slots*6-7:0], lane_b, lane_a};
    end
  end
endmodule

`default_nettype wire
